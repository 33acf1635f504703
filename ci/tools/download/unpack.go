package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
)

// unpack writes one entry of an archive, whose checksum was good, to a file.
func unpack(archive, entry, target string) error {
	in, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	var content io.Reader
	if unzipped, zipErr := zip.OpenReader(archive); zipErr == nil {
		defer func() { _ = unzipped.Close() }()
		content, err = unzipped.Open(entry)
	} else {
		content, err = inTar(in, entry)
	}
	if err != nil {
		return err
	}
	out, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, content)
	return errors.Join(err, out.Close())
}

func inTar(archive io.Reader, entry string) (io.Reader, error) {
	unzipped, err := gzip.NewReader(archive)
	if err != nil {
		return nil, err
	}
	content := tar.NewReader(unzipped)
	for {
		header, err := content.Next()
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", entry, err)
		}
		if header.Name == entry {
			return content, nil
		}
	}
}
