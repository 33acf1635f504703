package api_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A user copies this repository. What it holds must be admitted without a word.
func TestTheTeamsRepositoryPassesInEveryEnvironment(t *testing.T) {
	for _, environment := range environments {
		t.Run(environment, func(t *testing.T) {
			author := as(t, "")
			for _, object := range built(t, "examples/gitops/team/"+environment) {
				object.SetNamespace(environment)
				require.NoError(t, author.Create(t.Context(), &object, client.DryRunAll))
			}
			require.Empty(t, author.warned())
		})
	}
}
