package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// protocolVersion is the version of A2A that this agent speaks.
const protocolVersion = "0.3.0"

// A card is the A2A agent card as served, and the members that the agent itself uses.
type card struct {
	text              []byte
	name, description string
}

// loadCard reads the card that Flokoa mounted for spec.card, or creates a default card if there is none. It adds what only the
// server knows: its URL and its protocol. It serves unknown members of the file unchanged.
func loadCard(settings config) (card, error) {
	members, err := cardMembers(settings)
	if err != nil {
		return card{}, err
	}
	for _, required := range []string{"name", "description", "version"} {
		if text, _ := members[required].(string); text == "" {
			return card{}, fmt.Errorf("agent card %s: %s is missing; A2A requires it", settings.cardFile, required)
		}
	}
	members["url"] = settings.url
	members["protocolVersion"] = protocolVersion
	members["preferredTransport"] = "JSONRPC"
	text, err := json.MarshalIndent(members, "", "  ")
	return card{text, members["name"].(string), members["description"].(string)}, err
}

func cardMembers(settings config) (map[string]any, error) {
	text, err := os.ReadFile(settings.cardFile)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]any{
			"name":               settings.name,
			"description":        "An example agent of Flokoa that answers in text",
			"version":            settings.version,
			"capabilities":       map[string]any{"streaming": true},
			"defaultInputModes":  []string{"text/plain"},
			"defaultOutputModes": []string{"text/plain"},
			"skills": []any{map[string]any{
				"id": "answer", "name": "Answer", "description": "Answers a question in text", "tags": []string{"chat"},
			}},
		}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("agent card: %w", err)
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, fmt.Errorf("agent card %s is not a JSON object: %w", settings.cardFile, err)
	}
	return members, nil
}
