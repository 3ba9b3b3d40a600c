package main

import (
	"cmp"
	"fmt"
	"slices"
	"text/tabwriter"
)

// figures are what is measured in a round; 0 where there is nothing to tell.
type figures [4]float64

const (
	accepted = iota // messages per second
	endToEnd        // messages per second
	cpu             // seconds per 1,000 messages
	peak            // MB
)

// bar is a figure that the gateway is to reach.
type bar struct {
	name   string
	figure int
	times  bool // as many times Postfix's
	least  float64
}

func perSecond(least float64) bar {
	return bar{name: "end to end/s", figure: endToEnd, least: least}
}

func timesPostfix(least float64) bar {
	return bar{name: "end to end, times Postfix's", figure: endToEnd, times: true, least: least}
}

func median(all []figures) (m figures) {
	for i := range m {
		slices.SortFunc(all, func(a, b figures) int { return cmp.Compare(a[i], b[i]) })
		m[i] = all[len(all)/2][i]
	}
	return m
}

func number(v float64, decimals int) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.*f", decimals, v)
}

// table prints the medians of the servers and, with two of them, their ratio.
func (b *bench) table(title string, medians []figures) error {
	fmt.Fprintf(b.out, "\n%s, rounds: %d\n", title, b.rounds)
	w := b.columns("accepted/s", "end to end/s", "CPU s per 1,000", "peak MB")
	for i, m := range medians {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t\n", b.servers[i], number(m[accepted], 0),
			number(m[endToEnd], 0), number(m[cpu], 3), number(m[peak], 1))
	}
	if len(medians) == 2 {
		fmt.Fprint(w, "ratio\t")
		for i := range medians[0] {
			fmt.Fprintf(w, "%s\t", number(ratio(medians[0][i], medians[1][i]), 2))
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// columns begins a table.
func (b *bench) columns(titles ...string) *tabwriter.Writer {
	w := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, t := range titles {
		fmt.Fprintf(w, "\t%s", t)
	}
	fmt.Fprintln(w, "\t")
	return w
}

// judge prints how the medians stand beside the bars.
func (b *bench) judge(bars []bar, medians []figures) {
	gateway, postfix := slices.Index(b.servers, "gateway"), slices.Index(b.servers, "postfix")
	if gateway < 0 {
		return
	}
	for _, one := range bars {
		v := medians[gateway][one.figure]
		if one.times {
			if postfix < 0 {
				continue
			}
			v = ratio(v, medians[postfix][one.figure])
		}
		b.atLeast(one.name, v, one.least)
	}
}

func (b *bench) atLeast(name string, v, least float64) {
	fmt.Fprintf(b.out, "  %s: %.4g, at least %.4g: %s\n", name, v, least, b.verdict(v >= least))
}

// atMost takes 0 for what could not be measured.
func (b *bench) atMost(name string, v, most float64) {
	fmt.Fprintf(b.out, "  %s: %.4g, at most %.4g: %s\n", name, v, most,
		b.verdict(v > 0 && v <= most))
}

func (b *bench) verdict(reached bool) string {
	if !reached {
		b.missed = true
		return "MISSED"
	}
	return "reached"
}
