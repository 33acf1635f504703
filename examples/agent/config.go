package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// config is every setting. README.md documents them.
type config struct {
	port            string
	cardFile        string // the path at which Flokoa mounts spec.card
	name, url       string // set by Flokoa for every agent
	version, pod    string // response headers
	logLevel        slog.Level
	model           modelConfig
	drain, shutdown time.Duration
}

// modelConfig is how to reach the model. Without baseURL there is no model.
type modelConfig struct {
	baseURL, name, key string
	timeout            time.Duration
}

// readConfig reads the settings from the environment. The error names the first invalid variable.
func readConfig(getenv func(string) string) (config, error) {
	pod, err := os.Hostname() // the hostname of a pod is its name
	if err != nil {
		return config{}, err
	}
	c := config{
		port:     cmp.Or(getenv("PORT"), "8080"),
		cardFile: cmp.Or(getenv("AGENT_CARD_FILE"), "/etc/flokoa/agent-card.json"),
		name:     cmp.Or(getenv("FLOKOA_AGENT_NAME"), "agent"),
		version:  cmp.Or(getenv("AGENT_VERSION"), version),
		pod:      pod,
	}
	if err := c.logLevel.UnmarshalText([]byte(cmp.Or(getenv("LOG_LEVEL"), "info"))); err != nil {
		return config{}, fmt.Errorf("LOG_LEVEL: %q is not a log level: use debug, info, warn, or error", getenv("LOG_LEVEL"))
	}
	c.url = cmp.Or(getenv("FLOKOA_AGENT_URL"), "http://localhost:"+c.port)
	if c.drain, err = seconds(getenv, "DRAIN_SECONDS", 10); err != nil {
		return config{}, err
	}
	if c.shutdown, err = seconds(getenv, "SHUTDOWN_SECONDS", 300); err != nil {
		return config{}, err
	}
	c.model, err = readModelConfig(getenv)
	return c, err
}

// readModelConfig never repeats the key or the URL in an error, because a URL may contain a key.
func readModelConfig(getenv func(string) string) (modelConfig, error) {
	m := modelConfig{
		baseURL: strings.TrimRight(getenv("OPENAI_BASE_URL"), "/"),
		name:    getenv("MODEL"),
		key:     strings.TrimSpace(getenv("API_KEY")), // a Secret created from a file ends with a newline
	}
	var err error
	m.timeout, err = time.ParseDuration(cmp.Or(getenv("MODEL_TIMEOUT"), "60s"))
	if err != nil || m.timeout <= 0 {
		return m, fmt.Errorf("MODEL_TIMEOUT: %q is not a positive duration: use a value like 60s", getenv("MODEL_TIMEOUT"))
	}
	if m.baseURL == "" {
		return m, nil
	}
	address, err := url.Parse(m.baseURL)
	if err != nil || address.Host == "" || address.User != nil || address.Scheme != "http" && address.Scheme != "https" {
		return m, fmt.Errorf("OPENAI_BASE_URL: use a URL like https://api.openai.com/v1, without user information; set the key in API_KEY")
	}
	if m.name == "" {
		return m, fmt.Errorf("MODEL is missing: set the name of the model, because OPENAI_BASE_URL is set")
	}
	if strings.ContainsFunc(m.key, func(r rune) bool { return r < ' ' || r > '~' }) {
		return m, fmt.Errorf("API_KEY contains a character that is not allowed in an HTTP header: check the Secret")
	}
	return m, nil
}

// seconds parses a whole number of seconds, 0 or more.
func seconds(getenv func(string) string, name string, byDefault int) (time.Duration, error) {
	text := cmp.Or(getenv(name), strconv.Itoa(byDefault))
	count, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is not a whole number of seconds", name, text)
	}
	return time.Duration(count) * time.Second, nil
}
