package render

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// digest is the annotation that tells what was applied: a digest of the configuration's canonical JSON. A field that is
// no longer wanted shows in nothing but the digest, so it is what makes the operator apply again and so remove it.
func digest(configuration any) map[string]string {
	raw, err := json.Marshal(configuration)
	if err != nil {
		// Apply configurations are plain data of client-go's own making; they always marshal.
		raw = []byte(err.Error())
	}
	return map[string]string{v1alpha1.AnnotationDigest: sum(raw)}
}

// sum is a short digest of a text.
func sum(text []byte) string {
	all := sha256.Sum256(text)
	return hex.EncodeToString(all[:8])
}
