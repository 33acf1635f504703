package main

import (
	"cmp"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// config is every setting. The README has the table.
type config struct {
	port            string
	cardFile        string // where Flokoa mounts spec.card
	name, url       string // what Flokoa tells every agent about itself
	version, pod    string // who answers
	model           modelConfig
	drain, shutdown time.Duration
}

// modelConfig is how the model is reached; without baseURL there is none.
type modelConfig struct {
	baseURL, name, key string
	timeout            time.Duration
}

// readConfig reads the settings and says what is wrong with the first that cannot be.
func readConfig(getenv func(string) string) (config, error) {
	pod, err := os.Hostname() // of a pod it is its name
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

// readModelConfig never repeats the key, nor the address, which may hold one.
func readModelConfig(getenv func(string) string) (modelConfig, error) {
	m := modelConfig{
		baseURL: strings.TrimRight(getenv("OPENAI_BASE_URL"), "/"),
		name:    getenv("MODEL"),
		key:     strings.TrimSpace(getenv("API_KEY")), // a Secret made from a file ends in a newline
	}
	var err error
	m.timeout, err = time.ParseDuration(cmp.Or(getenv("MODEL_TIMEOUT"), "60s"))
	if err != nil || m.timeout <= 0 {
		return m, fmt.Errorf("MODEL_TIMEOUT: %q is no positive duration: write it like 60s", getenv("MODEL_TIMEOUT"))
	}
	if m.baseURL == "" {
		return m, nil
	}
	address, err := url.Parse(m.baseURL)
	if err != nil || address.Host == "" || address.User != nil || address.Scheme != "http" && address.Scheme != "https" {
		return m, fmt.Errorf("OPENAI_BASE_URL: write it like https://api.openai.com/v1, without a user; the key goes into API_KEY")
	}
	if m.name == "" {
		return m, fmt.Errorf("MODEL: name the model to ask for, because OPENAI_BASE_URL is set")
	}
	if strings.ContainsFunc(m.key, func(r rune) bool { return r < ' ' || r > '~' }) {
		return m, fmt.Errorf("API_KEY: it holds a character that no HTTP header may: look at the Secret")
	}
	return m, nil
}

// seconds is a whole number of seconds of 0 or more.
func seconds(getenv func(string) string, name string, byDefault int) (time.Duration, error) {
	text := cmp.Or(getenv(name), strconv.Itoa(byDefault))
	count, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is no whole number of seconds", name, text)
	}
	return time.Duration(count) * time.Second, nil
}
