// Command argocd is the three controllers of Argo CD that apply Applications, and no user interface. The name that it is started by
// decides which of them runs, as in Argo CD's own program, which is several times as large.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	application "github.com/argoproj/argo-cd/v3/cmd/argocd-application-controller/commands"
	applicationset "github.com/argoproj/argo-cd/v3/cmd/argocd-applicationset-controller/commands"
	gitaskpass "github.com/argoproj/argo-cd/v3/cmd/argocd-git-ask-pass/commands"
	reposerver "github.com/argoproj/argo-cd/v3/cmd/argocd-repo-server/commands"
	"github.com/argoproj/argo-cd/v3/common"
	"github.com/spf13/cobra"
)

func main() {
	commands := map[string]func() *cobra.Command{
		common.CommandApplicationController:    application.NewCommand,
		common.CommandApplicationSetController: applicationset.NewCommand,
		common.CommandRepoServer:               reposerver.NewCommand,
		common.CommandGitAskPass:               gitaskpass.NewCommand,
	}
	name := filepath.Base(os.Args[0])
	command, known := commands[name]
	if !known {
		fmt.Fprintf(os.Stderr, "there is no %s here: start it as argocd-application-controller, argocd-applicationset-controller, or argocd-repo-server\n", name)
		os.Exit(2)
	}
	if err := command().Execute(); err != nil {
		os.Exit(1)
	}
}
