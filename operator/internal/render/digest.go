package render

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// digest is the annotation with the digest of a configuration's canonical JSON. A removed field shows only there: the changed
// digest makes the operator apply again, which removes the field from the live object.
func digest(configuration any) map[string]string { return digestOf(encode(configuration)) }

func digestOf(encoded []byte) map[string]string {
	return map[string]string{v1alpha1.AnnotationDigest: shortDigest(encoded)}
}

// encode returns the JSON of an apply configuration.
func encode(configuration any) []byte {
	raw, err := json.Marshal(configuration)
	if err != nil {
		// Unreachable: apply configurations are generated plain data.
		raw = []byte(err.Error())
	}
	return raw
}

// shortDigest is the first 64 bits of the SHA-256 of a text, in hex.
func shortDigest(text []byte) string {
	all := sha256.Sum256(text)
	return hex.EncodeToString(all[:8])
}
