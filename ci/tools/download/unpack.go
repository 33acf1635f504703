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

// unpack writes one entry of an archive, whose checksum was good, to a file. A link has no content, and would be an empty program.
func unpack(archive, entry, target string) error {
	in, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	var content io.Reader
	if unzipped, zipErr := zip.OpenReader(archive); zipErr == nil {
		defer func() { _ = unzipped.Close() }()
		content, err = inZip(&unzipped.Reader, entry)
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
	return errors.Join(copyProgram(out, content), out.Close())
}

func errNoFile(entry string) error { return fmt.Errorf("%s is not a regular file", entry) }

func inZip(archive *zip.Reader, entry string) (io.Reader, error) {
	content, err := archive.Open(entry)
	if err != nil {
		return nil, err
	}
	if info, err := content.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(errNoFile(entry), err)
	}
	return content, nil
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
		if header.Name != entry {
			continue
		}
		if header.Typeflag != tar.TypeReg {
			return nil, errNoFile(entry)
		}
		return content, nil
	}
}
