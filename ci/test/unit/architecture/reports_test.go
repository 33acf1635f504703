package architecture

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var testName = regexp.MustCompile("`(Test[A-Za-z0-9]+)`")

// Every row of ci/reports.md names tests that exist, so that the table cannot promise what nothing proves.
func TestEveryReportNamesTestsThatExist(t *testing.T) {
	page, err := os.ReadFile("../../../reports.md")
	require.NoError(t, err)
	declared := declaredTests(t, "../../../..")
	rows := 0
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| report ") {
			continue
		}
		rows++
		requireTests(t, declared, testName, line)
	}
	require.GreaterOrEqual(t, rows, 40)
}

// CONTRIBUTING.md names the test that fails without each step.
func TestContributingNamesTestsThatExist(t *testing.T) {
	page, err := os.ReadFile("../../../../CONTRIBUTING.md")
	require.NoError(t, err)
	requireTests(t, declaredTests(t, "../../../.."), testName, string(page))
}

// requireTests requires that a text names tests, and only such that exist.
func requireTests(t *testing.T, declared map[string]bool, names *regexp.Regexp, text string) {
	t.Helper()
	found := names.FindAllStringSubmatch(text, -1)
	require.NotEmpty(t, found, "it names no test: %s", text)
	for _, name := range found {
		require.True(t, declared[name[1]], "no such test: %s", name[1])
	}
}

// declaredTests returns the names of all test functions under a directory.
func declaredTests(t *testing.T, root string) map[string]bool {
	t.Helper()
	declared, function := map[string]bool{}, regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9]+)\(`)
	require.NoError(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, match := range function.FindAllStringSubmatch(string(source), -1) {
			declared[match[1]] = true
		}
		return err
	}))
	require.NotEmpty(t, declared)
	return declared
}
