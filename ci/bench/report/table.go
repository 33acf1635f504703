package report

import (
	"fmt"
	"io"
)

// WriteTable writes what was measured.
func (r Results) WriteTable(w io.Writer) error {
	for _, m := range r.Measurements {
		if _, err := fmt.Fprintf(w, "%+v\n", *m); err != nil {
			return err
		}
	}
	return nil
}

// WritePlot draws.
func (r Results) WritePlot(io.Writer) error { return nil }
