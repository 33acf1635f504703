package main

import (
	"fmt"
	"os"
	"path"

	"sigs.k8s.io/yaml"
)

// exceptions are what exceptions.yaml accepts.
type exceptions struct {
	// Schemas are for kinds that no schema is there for.
	Schemas []*exception `json:"schemas"`
	// KubeScore are for checks of kube-score that objects may fail.
	KubeScore []*exception `json:"kubeScore"`
}

type exception struct {
	// Kinds are apiVersion/kind, for schemas.
	Kinds []string `json:"kinds,omitempty"`
	// Check is kube-score's, and Message one of its messages, or empty for each. Objects are kind/name.
	Check   string   `json:"check,omitempty"`
	Message string   `json:"message,omitempty"`
	Objects []string `json:"objects,omitempty"`
	// Reason says why the exception is right.
	Reason string `json:"reason"`

	used map[string]bool
}

func readExceptions(file string) (*exceptions, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var e exceptions
	if err := yaml.UnmarshalStrict(text, &e); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	for _, x := range append(e.Schemas, e.KubeScore...) {
		if x.Reason == "" {
			return nil, fmt.Errorf("%s: an exception needs a reason: %v", file, append(x.Kinds, x.Check))
		}
		x.used = map[string]bool{}
	}
	return &e, nil
}

func (e *exceptions) acceptKind(name string) bool {
	accepted := false
	for _, x := range e.Schemas {
		accepted = x.accept(x.Kinds, name) || accepted
	}
	return accepted
}

func (e *exceptions) acceptCheck(check, message, object string) bool {
	accepted := false
	for _, x := range e.KubeScore {
		if x.Check == check && (x.Message == "" || x.Message == message) {
			accepted = x.accept(x.Objects, object) || accepted
		}
	}
	return accepted
}

func (x *exception) accept(patterns []string, name string) bool {
	for _, pattern := range patterns {
		if matches, err := path.Match(pattern, name); err == nil && matches {
			x.used[pattern] = true
			return true
		}
	}
	return false
}

// unused returns an error for each exception that nothing needs, so that the list does not outlive its reasons.
func (e *exceptions) unused() error {
	var found []string
	for _, x := range append(e.Schemas, e.KubeScore...) {
		for _, pattern := range append(x.Kinds, x.Objects...) {
			if !x.used[pattern] {
				found = append(found, fmt.Sprintf("%s %s is accepted, but nothing needs it", x.Check, pattern))
			}
		}
	}
	return problems("ci/cmd/verify/exceptions.yaml", found)
}
