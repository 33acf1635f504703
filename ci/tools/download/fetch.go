package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// unreachableError says that servers cannot be used, as opposed to one file that is missing or wrong.
type unreachableError struct{ error }

var errDowngrade = errors.New("the server redirects from https to http")

// Variables, because a test cannot wait.
var (
	// patience is how long all files together may take to start, and how often their speed is measured.
	patience = 5 * time.Second
	// leastBytes per interval of patience: slower than this, compiling Kubernetes takes less time.
	leastBytes int64 = 2 << 20
	// maxProgram limits a file, and what is unpacked: a server that never stops sending must not fill the disk.
	maxProgram int64 = 1 << 30
)

// A transfer is the download of all files of a tool.
type transfer struct {
	request
	client *http.Client
	server string
	// running counts files whose last byte has not arrived.
	running  atomic.Int64
	received atomic.Int64
	expected atomic.Int64
}

// download places all files, or returns the first error and leaves nothing.
func (r request) download(files []file) error {
	part := r.folder + ".part" // build.sh holds a lock, so no other process writes there
	defer func() { _ = os.RemoveAll(part) }()
	if err := errors.Join(os.RemoveAll(part), os.MkdirAll(part, 0o755)); err != nil {
		return fmt.Errorf("make folder %s: %w", part, err)
	}
	t := &transfer{request: r, client: newClient(), server: hostOf(at(r.mirror, files[0].address))}
	t.running.Store(int64(len(files)))
	r.say("looking for official programs on %s (FLOKOA_DOWNLOADS=off compiles them)", t.server)

	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go t.watch(ctx, cancel)

	var all sync.WaitGroup
	for _, f := range files {
		all.Go(func() {
			if err := t.place(ctx, f, part); err != nil {
				cancel(err) // only the first counts
			}
		})
	}
	all.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return os.Rename(part, r.folder)
}

// newClient returns a client that uses the proxy of the environment, as go itself does.
func newClient() *http.Client {
	return &http.Client{CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if via[0].URL.Scheme == "https" && next.URL.Scheme != "https" {
			return errDowngrade
		}
		if len(via) >= 10 {
			return errors.New("more than 10 redirects")
		}
		return nil
	}}
}

// watch ends a download that does not start in time, or becomes slower than compiling, and reports progress.
func (t *transfer) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(patience)
	defer tick.Stop()
	before := int64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		received, expected := t.received.Load(), t.expected.Load()
		switch {
		case received == 0:
			cancel(unreachableError{fmt.Errorf("%s did not answer within %s", t.server, patience)})
		case t.running.Load() > 0 && received-before < leastBytes:
			cancel(unreachableError{fmt.Errorf("%s sent only %d kB in %s", t.server, (received-before)>>10, patience)})
		default:
			t.say("downloaded %d of %d MB", received>>20, expected>>20)
		}
		before = received
	}
}

// place downloads one file into the folder, checks it, and unpacks it if it is an archive.
func (t *transfer) place(ctx context.Context, f file, folder string) error {
	want, err := t.checksum(ctx, f)
	if err != nil {
		return err
	}
	target := filepath.Join(folder, f.program)
	if f.entry != "" {
		target += ".archive"
	}
	got, err := t.save(ctx, at(t.mirror, f.address), target)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%s has SHA-256 %s, but %s says %s: refused", at(t.mirror, f.address), got, at(t.mirror, f.sums), want)
	}
	if f.entry == "" {
		return nil
	}
	if err := unpack(target, f.entry, filepath.Join(folder, f.program)); err != nil {
		return fmt.Errorf("unpack %s: %w", at(t.mirror, f.address), err)
	}
	return os.Remove(target)
}

// save writes what an address serves to a file, and returns its SHA-256.
func (t *transfer) save(ctx context.Context, address, target string) (string, error) {
	response, err := t.get(ctx, address)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	t.expected.Add(max(response.ContentLength, 0))
	out, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	err = copyProgram(io.MultiWriter(out, hash), counted{response.Body, t})
	if err = errors.Join(err, out.Close()); err != nil {
		return "", fmt.Errorf("download %s: %w", address, err)
	}
	t.running.Add(-1)
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// copyProgram copies what can be a program: something, and not more than maxProgram.
func copyProgram(to io.Writer, from io.Reader) error {
	size, err := io.Copy(to, io.LimitReader(from, maxProgram+1))
	switch {
	case err != nil:
		return err
	case size == 0:
		return errors.New("the file is empty")
	case size > maxProgram:
		return fmt.Errorf("the file is larger than %d bytes", maxProgram)
	}
	return nil
}

// counted counts what is read of a response.
type counted struct {
	io.Reader
	transfer *transfer
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.transfer.received.Add(int64(n))
	return n, err
}

func (t *transfer) get(ctx context.Context, address string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("FLOKOA_DOWNLOADS is not an address: %w", err)
	}
	request.URL.User = t.user
	response, err := t.client.Do(request)
	if errors.Is(err, errDowngrade) {
		return nil, err
	}
	if err != nil {
		return nil, unreachableError{fmt.Errorf("cannot reach %s: %w", hostOf(address), errors.Unwrap(err))}
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, fmt.Errorf("%s answers %s", address, response.Status)
	}
	return response, nil
}
