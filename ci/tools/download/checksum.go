package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// maxSums limits a list of checksums. GitHub's description of a release has less than 1 MiB.
const maxSums = 4 << 20

var sha256Text = regexp.MustCompile(`^[0-9a-f]{64}$`)

// checksum fetches the published SHA-256 of a file.
func (t *transfer) checksum(ctx context.Context, f file) (string, error) {
	address := at(t.mirror, f.sums)
	response, err := t.get(ctx, address)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxSums+1))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", address, err)
	}
	if len(text) > maxSums {
		return "", fmt.Errorf("%s is larger than %d bytes, which no list of checksums is", address, maxSums)
	}
	name := nameOf(f.address)
	sum := fromList(string(text), name)
	if strings.HasPrefix(string(text), "{") {
		sum = fromGitHub(text, name)
	}
	// A page that asks for a login is not a checksum either.
	if !sha256Text.MatchString(sum) {
		return "", fmt.Errorf("%s has no SHA-256 checksum of %s", address, name)
	}
	return sum, nil
}

// fromList reads "SUM" or lines of "SUM  NAME", as sha256sum writes them.
func fromList(text, name string) string {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 1 || (len(fields) == 2 && strings.TrimPrefix(fields[1], "*") == name) {
			return strings.ToLower(fields[0])
		}
	}
	return ""
}

// fromGitHub reads the description of a release.
func fromGitHub(text []byte, name string) string {
	var release struct {
		Assets []struct{ Name, Digest string }
	}
	if err := json.Unmarshal(text, &release); err != nil {
		return ""
	}
	for _, asset := range release.Assets {
		if asset.Name == name {
			return strings.TrimPrefix(asset.Digest, "sha256:")
		}
	}
	return ""
}
