package status

import (
	"strings"
	"unicode"
)

// Message returns a text as a condition or an Event may hold it: on one line, and at most 1024 bytes long.
func Message(text string) string { return truncate(text, maxMessage) }

// oneLine turns each line break and other space into a space, and each control, bidirectional, or invisible character into U+FFFD.
// Otherwise foreign text, such as a container's termination message, could forge lines in kubectl describe and in logs.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		default:
			return unicode.ReplacementChar
		}
	}, text)
}

// truncate returns a text on one line, cut to at most limit bytes between characters.
func truncate(text string, limit int) string {
	const ellipsis = "..."
	text = oneLine(text)
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:max(limit-len(ellipsis), 0)], "") + ellipsis
}
