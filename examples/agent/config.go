package main

import (
	"cmp"
	"errors"
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
func readConfig(lookup func(string) (string, bool)) (config, error) {
	getenv := func(name string) string {
		value, _ := lookup(name)
		return value
	}
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
	if c.model.timeout, err = time.ParseDuration(cmp.Or(getenv("MODEL_TIMEOUT"), "60s")); err != nil || c.model.timeout <= 0 {
		return config{}, fmt.Errorf("MODEL_TIMEOUT: %q is not a positive duration: use a value like 60s", getenv("MODEL_TIMEOUT"))
	}
	c.model.baseURL = strings.TrimRight(getenv("OPENAI_BASE_URL"), "/")
	c.model.name = getenv("FLOKOA_MODEL")
	key, hasKey := lookup("OPENAI_API_KEY")
	c.model.key = strings.TrimSpace(key) // a Secret created from a file ends with a newline
	return c, c.model.validate(hasKey)
}

// validate accepts a whole configuration, or none. Half of one is a mistake: with a default URL, for example, the key of any provider
// would go to api.openai.com. The key is optional, because some providers need none. hasKey says whether its variable is set.
//
// An error never repeats the key or the URL, because a URL may contain a key.
func (m modelConfig) validate(hasKey bool) error {
	switch {
	case m.baseURL == "" && m.name == "" && !hasKey:
		return nil
	case m.baseURL == "":
		return errors.New("OPENAI_BASE_URL is missing, but FLOKOA_MODEL or OPENAI_API_KEY is set: reference a Model whose provider is OpenAI, or set a URL like https://api.openai.com/v1")
	case !isBaseURL(m.baseURL):
		return errors.New("OPENAI_BASE_URL: use a URL like https://api.openai.com/v1, without user information, query, fragment, or $(VARIABLE); set the key in OPENAI_API_KEY")
	case m.name == "":
		return errors.New("FLOKOA_MODEL is missing, but OPENAI_BASE_URL is set: set the provider's name of the model, such as gpt-4o-mini")
	case strings.ContainsFunc(m.name, func(r rune) bool { return r <= ' ' || r > '~' || r == '$' }):
		return fmt.Errorf("FLOKOA_MODEL: %q is not the name of a model: use a name like gpt-4o-mini, without spaces or $(VARIABLE)", m.name)
	case hasKey && m.key == "":
		return errors.New("OPENAI_API_KEY is empty: check the Secret; for a provider that needs no key, do not set the variable")
	case strings.ContainsFunc(m.key, func(r rune) bool { return r < ' ' || r > '~' }):
		return errors.New("OPENAI_API_KEY contains a character that is not allowed in an HTTP header: check the Secret")
	}
	return nil
}

// isBaseURL reports whether a path can be appended to the text, and the result requested. The kubelet leaves $(VARIABLE) in a text if
// there is no such variable.
func isBaseURL(text string) bool {
	address, err := url.Parse(text)
	return err == nil && (address.Scheme == "https" || address.Scheme == "http") && address.Host != "" && address.User == nil &&
		!strings.ContainsAny(text, "?#$ ")
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
