package architecture

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every claim of SECURITY.md names a test that exists and says whether the claim needs the operator, so that the page cannot promise
// what nothing proves.
func TestEverySecurityClaimNamesTestsThatExist(t *testing.T) {
	page, err := os.ReadFile("../../../../SECURITY.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(page), "| claim | enforced by; needs the operator | test |\n|---|---|---|\n")
	require.True(t, found, "SECURITY.md has the table of claims")
	table, _, _ = strings.Cut(table, "\n\n")
	declared := declaredTests(t, "../../../..")
	rows := 0
	for line := range strings.Lines(table) {
		rows++
		cells := strings.Split(strings.Trim(line, "| \n"), " | ")
		require.Len(t, cells, 3, "%s", line)
		require.Regexp(t, `; (yes|no)\b`, cells[1], "the claim says whether it needs the operator: %s", line)
		requireTests(t, declared, testName, cells[2])
	}
	require.GreaterOrEqual(t, rows, 20)
}

// A row of the attackers' table may leave its attack to another test.
func TestEveryAttackerThatIsTestedElsewhereNamesATest(t *testing.T) {
	source, err := os.ReadFile("../../cluster/attackers_operator_test.go")
	require.NoError(t, err)
	requireTests(t, declaredTests(t, "../../../.."), regexp.MustCompile(`see\("(\w+)"\)`), string(source))
}
