package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/flokoa/flokoa/ci/cmd/traffic/serve"
	"github.com/flokoa/flokoa/ci/testkit/modelstub"
)

// runServe serves on all ports, and ends with the first that fails.
func runServe(ctx context.Context, args []string, s streams) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	tcp := flags.String("tcp", "", "`ports` that echo over TCP and answer HTTP, such as 8080,9090")
	udp := flags.String("udp", "", "`ports` that echo over UDP")
	if err := parse(flags, args, s); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var servers []func() error
	for _, port := range ports(*tcp) {
		listener, err := net.Listen("tcp", ":"+port)
		if err != nil {
			return err
		}
		servers = append(servers, func() error { return serve.TCP(ctx, listener) })
	}
	for _, port := range ports(*udp) {
		conn, err := net.ListenPacket("udp", ":"+port)
		if err != nil {
			return err
		}
		servers = append(servers, func() error { return serve.UDP(ctx, conn) })
	}
	if len(servers) == 0 {
		return fmt.Errorf("%w: give --tcp or --udp", errUsage)
	}
	ended := make(chan error, len(servers))
	for _, server := range servers {
		go func() { ended <- server() }()
	}
	return <-ended
}

func ports(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}

func runProvider(ctx context.Context, args []string, s streams) error {
	flags := flag.NewFlagSet("provider", flag.ContinueOnError)
	port := flags.Uint("port", 8080, "port of the stand-in for a model provider")
	key := flags.String("key", "", "the key that it wants (default: environment variable PROVIDER_KEY; without one, no key is required)")
	if err := parse(flags, args, s); err != nil {
		return err
	}
	if *key == "" {
		*key = os.Getenv("PROVIDER_KEY")
	}
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", *port))
	if err != nil {
		return err
	}
	return serve.HTTP(ctx, listener, modelstub.New(*key))
}

// runCalls prints how many requests the provider of this pod received, by key.
func runCalls(ctx context.Context, args []string, s streams) error {
	flags := flag.NewFlagSet("calls", flag.ContinueOnError)
	port := flags.Uint("port", 8080, "port of the provider")
	if err := parse(flags, args, s); err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/calls", *port), http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("no provider answers: run this in the pod of traffic provider, with its --port: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("port %d serves no provider: it answered %s", *port, response.Status)
	}
	_, err = io.Copy(s.out, response.Body)
	return err
}
