// Command golangci-lint is golangci-lint with the plugins that .golangci.yml names, which the published program cannot load.
package main

import (
	"fmt"
	"os"
	"runtime"

	"github.com/golangci/golangci-lint/v2/pkg/commands"
	"github.com/golangci/golangci-lint/v2/pkg/exitcodes"
	_ "sigs.k8s.io/kube-api-linter" // registers the linter kubeapilinter
)

// version is golangci-lint's, which the linker sets.
var version = "unknown"

func main() {
	info := commands.BuildInfo{Version: version, GoVersion: runtime.Version(), Commit: "pinned", Date: "pinned"}
	if err := commands.Execute(info); err != nil {
		fmt.Fprintln(os.Stderr, "golangci-lint:", err)
		os.Exit(exitcodes.Failure)
	}
}
