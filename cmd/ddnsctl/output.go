package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"
)

// asJSON writes v to standard output where -o json asks for it, and says so.
func (c *ctl) asJSON(v any) (bool, error) {
	if c.output != "json" {
		return false, nil
	}
	return true, json.NewEncoder(c.out).Encode(v)
}

// note writes a line to standard error, for the person in front of it.
func (c *ctl) note(format string, args ...any) {
	fmt.Fprintf(c.err, format+"\n", args...)
}

// pageRows is how many rows of a table are aligned with each other: a long list
// is printed as it comes.
const pageRows = 1000

// table writes rows of tab-separated cells in columns.
type table struct {
	*tabwriter.Writer
	rows int
}

func newTable(w io.Writer, columns ...string) *table {
	t := &table{Writer: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	if len(columns) > 0 {
		t.row(columns...)
	}
	return t
}

// row takes cells as they are stored: a note is anyone's text, and must not
// steer the operator's terminal.
func (t *table) row(cells ...string) error {
	for i, cell := range cells {
		cells[i] = strings.Map(printable, cell)
	}
	_, err := fmt.Fprintln(t, strings.Join(cells, "\t"))
	if t.rows++; err == nil && t.rows%pageRows == 0 {
		err = t.Flush()
	}
	return err
}

func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return '?'
}

// field writes a line of a description, none for an empty value.
func (t *table) field(name, value string) {
	if value != "" {
		t.row(name+":", value)
	}
}

// when is a time for people, in their zone; "" for none.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05 MST")
}

// age is how long before now t was; "" for no time.
func age(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return humanize.RelTime(t, now, "ago", "from now")
}

// whenAndAge is both, for descriptions.
func whenAndAge(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return when(t) + " (" + age(t, now) + ")"
}
