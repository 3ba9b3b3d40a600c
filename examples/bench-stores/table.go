package main

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// scenario is a table: subjects that are measured in turns.
type scenario struct {
	title    string
	columns  []column
	subjects []subject
	targets  []target
	rounds   int // defaults to those of the flag
}

type column struct {
	title    string
	decimals int
}

// figures are those of a subject, one for each column; not a number where there
// is nothing to tell.
type figures []float64

type subject struct {
	name    string
	measure func(ctx context.Context) (figures, error)
}

// target is a figure that was set as one to reach.
type target struct {
	text  string
	value func(r results) float64
	bound float64
	least bool // the value may not be less; else it may not be more
}

// results are the medians by subject. Those of one that was left out are
// missing.
type results map[string]figures

func (r results) of(name string, column int) float64 {
	f, ok := r[name]
	if !ok {
		return math.NaN()
	}
	return f[column]
}

// atLeast and atMost are targets for one figure, fraction for how it stands
// beside that of another subject.
func atLeast(text, name string, column int, bound float64) target {
	return target{text, func(r results) float64 { return r.of(name, column) }, bound, true}
}

func atMost(text, name string, column int, bound float64) target {
	return target{text, func(r results) float64 { return r.of(name, column) }, bound, false}
}

func fraction(text, name, other string, column int, bound float64) target {
	return target{text, func(r results) float64 {
		return r.of(name, column) / r.of(other, column)
	}, bound, true}
}

// compare measures the subjects in turns and prints the medians, then how they
// stand beside the targets.
func (b *bench) compare(ctx context.Context, s scenario) error {
	s.subjects = slices.DeleteFunc(s.subjects, func(s subject) bool { return !b.wanted(s.name) })
	s.rounds = cmp.Or(s.rounds, b.rounds)
	all := map[string][]figures{}
	for round := range s.rounds {
		order := slices.Clone(s.subjects)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, one := range order {
			got, err := one.measure(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", one.name, err)
			}
			all[one.name] = append(all[one.name], got)
		}
	}
	r := results{}
	for name, rounds := range all {
		r[name] = median(rounds)
	}
	return b.print(s, r)
}

func (b *bench) wanted(name string) bool {
	return b.only == nil || slices.ContainsFunc(b.only, func(word string) bool {
		return strings.Contains(name, word)
	})
}

func (b *bench) print(s scenario, r results) error {
	fmt.Fprintf(b.out, "\n%s, rounds: %d\n", s.title, s.rounds)
	w := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, c := range s.columns {
		fmt.Fprintf(w, "\t%s", c.title)
	}
	fmt.Fprintln(w, "\t")
	for _, one := range s.subjects {
		fmt.Fprint(w, one.name)
		for i, v := range r[one.name] {
			fmt.Fprintf(w, "\t%s", number(v, s.columns[i].decimals))
		}
		fmt.Fprintln(w, "\t")
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, t := range s.targets {
		v := t.value(r)
		if math.IsNaN(v) {
			continue
		}
		verdict := "reached"
		if t.least && v < t.bound || !t.least && v > t.bound {
			verdict, b.missed = "MISSED", true
		}
		fmt.Fprintf(b.out, "  %s: %.4g, %s\n", t.text, v, verdict)
	}
	return nil
}

func median(rounds []figures) figures {
	m := make(figures, len(rounds[0]))
	for i := range m {
		var column []float64
		for _, f := range rounds {
			column = append(column, f[i])
		}
		slices.Sort(column)
		m[i] = column[len(column)/2]
	}
	return m
}

func number(v float64, decimals int) string {
	if math.IsNaN(v) {
		return "-"
	}
	return fmt.Sprintf("%.*f", decimals, v)
}
