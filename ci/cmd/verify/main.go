// Command verify checks everything that a user applies, as they apply it: each chart with each of its values files, each overlay, and
// each example. It validates what the operator creates, too. `make verify` runs it:
//
//	verify KUBECONFORM KUBE-SCORE
//
// Helm lints the charts (strictly), kubeconform validates the objects against the schemas of Kubernetes and of the CRD, and kube-score
// looks for practices that cost availability or security. exceptions.yaml has what is accepted, and why.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) != 3 {
		_, _ = fmt.Fprintln(os.Stderr, "usage: verify KUBECONFORM KUBE-SCORE")
		os.Exit(2)
	}
	if err := verify(".", os.Args[1], os.Args[2]); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func verify(root, kubeconform, kubeScore string) error {
	accepted, err := readExceptions(filepath.Join(root, "ci/cmd/verify/exceptions.yaml"))
	if err != nil {
		return err
	}
	installations, err := installationsOf(root)
	if err != nil {
		return err
	}
	renderings, err := render(root, installations)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "verify")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	if err := write(folder, renderings); err != nil {
		return err
	}
	swagger, err := readSwagger(root)
	if err != nil {
		return err
	}
	err = errors.Join(
		lint(root, installations),
		conform(kubeconform, folder, renderings, swagger, accepted),
		score(kubeScore, folder, renderings, accepted),
		accepted.unused(),
	)
	if err == nil {
		_, _ = fmt.Fprintf(os.Stdout, "verify: %d renderings conform to their schemas and to good practice\n", len(renderings))
	}
	return err
}
