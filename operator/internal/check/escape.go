package check

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A manifest comes from anybody who may open a pull request, and the report is read in the log of CI. So no text of a manifest, and
// no name of a file, may add lines, act on a terminal, or look like a workflow command of the CI system.

// escape returns a text with Go's escape sequences for line breaks and for control, bidirectional, and invisible characters.
func escape(text string) string {
	text = strings.ReplaceAll(text, "##", "# #") // runners look for ##[ and ##vso[ anywhere in a line
	if isPrintable(text) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// quoteName returns a name as it is if it is an ordinary one, else in quotes, because a line may start with it.
func quoteName(name string) string {
	name = strings.ReplaceAll(name, "##", "# #")
	if isPrintable(name) && !strings.HasPrefix(name, ":") && !strings.HasPrefix(name, "#") {
		return name
	}
	return strconv.Quote(name)
}

func isPrintable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}
