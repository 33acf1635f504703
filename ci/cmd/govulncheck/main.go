// Command govulncheck runs the govulncheck of the Go project in several modules.
//
//	go run ./ci/cmd/govulncheck [-required] [-db URL] PROGRAM MODULE...
//
// Without the vulnerability database it prints a line and succeeds, because most of this repository's commands work offline.
// With -required it fails: in CI, silence must mean that no vulnerability is known.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"
)

// answerTimeout is how long the database may take to answer. govulncheck itself waits for minutes where a firewall drops packets.
const answerTimeout = 5 * time.Second

func main() {
	database := flag.String("db", "https://vuln.go.dev", "`URL` of the vulnerability database: https:// or file://")
	required := flag.Bool("required", false, "fail if the database does not answer")
	flag.Parse()
	if flag.NArg() < 2 {
		fmt.Fprintln(os.Stderr, "usage: govulncheck [-required] [-db URL] PROGRAM MODULE...")
		os.Exit(2)
	}
	if err := check(context.Background(), *database, *required, flag.Arg(0), flag.Args()[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// check scans every module, also after a finding, so that one run shows them all.
func check(ctx context.Context, database string, required bool, program string, modules []string, out io.Writer) error {
	if err := answers(ctx, database); err != nil {
		if required {
			return fmt.Errorf("the vulnerability database does not answer: %w", err)
		}
		_, err := fmt.Fprintln(out, "SKIPPED: govulncheck: the vulnerability database does not answer:", err)
		return err
	}
	var failed []error
	for _, module := range modules {
		if _, err := fmt.Fprintln(out, "govulncheck:", module); err != nil {
			return err
		}
		scan := exec.CommandContext(ctx, program, "-db", database, "-test", "./...")
		scan.Dir, scan.Stdout, scan.Stderr = module, out, os.Stderr
		if err := scan.Run(); err != nil {
			failed = append(failed, fmt.Errorf("govulncheck in module %s: %w", module, err))
		}
	}
	return errors.Join(failed...)
}

// answers asks for the file by which a database of the Go project is known.
func answers(ctx context.Context, database string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(database, "/")+"/index/db.json", nil)
	if err != nil {
		return err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.RegisterProtocol("file", http.NewFileTransport(http.Dir("/")))
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", request.URL, response.Status)
	}
	return nil
}
