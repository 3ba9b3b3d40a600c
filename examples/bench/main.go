package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/postern-mail/postern/examples/internal/proc"
	"github.com/postern-mail/postern/examples/internal/smtpload"
)

// load is one scenario's mail.
type load struct {
	key string
	smtpload.Load
}

func loads() []load {
	return []load{
		{"a", smtpload.Load{Sessions: 1, Size: 1 << 10, Messages: 1000}},
		{"b", smtpload.Load{Sessions: 20, Size: 10 << 10, Messages: 5000}},
		{"c", smtpload.Load{Sessions: 20, Size: 1 << 20, Messages: 300}},
		{"d", smtpload.Load{Sessions: 100, Size: 1 << 10, Messages: 5000}},
		{"d2", smtpload.Load{Sessions: 100, Size: 1 << 10, Messages: 5000, Reuse: true}},
	}
}

func (l load) String() string {
	size := fmt.Sprintf("%d KB", l.Size>>10)
	if l.Size >= 1<<20 {
		size = fmt.Sprintf("%d MB", l.Size>>20)
	}
	s := fmt.Sprintf("(%s) %d × %s", l.key, l.Sessions, size)
	if l.Reuse {
		s += ", reused"
	}
	return s
}

type options struct {
	scenarios []string
	servers   []string
	rounds    int
	scale     float64
	queued    int
	idle      int
	eventLog  bool
	dir       string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	var o options
	var scenarios, servers string
	var quick bool
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&scenarios, "scenario", "a,b,c,d,d2,queued,idle", "what to run, in this order")
	f.StringVar(&servers, "servers", "gateway,postfix", "whom to measure")
	f.IntVar(&o.rounds, "rounds", 3, "measurements of each server per scenario")
	f.Float64Var(&o.scale, "scale", 1, "factor for the number of messages in a to d2")
	f.IntVar(
		&o.queued, "queued", 10_000,
		"messages of scenario queued: the next hop is down, 10 KB each",
	)
	f.IntVar(&o.idle, "idle", 1000, "sessions of scenario idle, which only the gateway runs")
	f.BoolVar(&o.eventLog, "event-log", false, "the gateway keeps its events in the queue too")
	f.StringVar(
		&o.dir, "dir", "",
		"folder for the queues and all else, on a real disk (default: a new one in the "+
			"temporary folder)",
	)
	f.BoolVar(&quick, "quick", false, "a tenth of everything, one round")
	if err := f.Parse(args); err != nil {
		return err
	}
	if quick {
		o.rounds, o.scale, o.queued, o.idle = 1, o.scale/10, o.queued/10, o.idle/10
	}
	o.scenarios, o.servers = strings.Split(scenarios, ","), strings.Split(servers, ",")

	dir, err := os.MkdirTemp(o.dir, "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// Postfix's processes give up root and must still reach their queue.
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	o.dir = dir
	b := &bench{options: o, out: out}
	if slices.Contains(o.servers, "gateway") {
		b.binary = filepath.Join(dir, "gateway")
		build := exec.CommandContext(
			ctx, "go", "build", "-o", b.binary, "github.com/postern-mail/postern/examples/gateway",
		)
		if text, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build the gateway: %w\n%s", err, text)
		}
	}
	describe(ctx, out, dir)
	return b.run(ctx)
}

// describe prints what the figures depend on.
func describe(ctx context.Context, out io.Writer, dir string) {
	say := func(name string, args ...string) string {
		text, err := exec.CommandContext(ctx, name, args...).Output()
		if err != nil {
			return "?"
		}
		return strings.TrimSpace(string(text))
	}
	fs := say("stat", "-f", "-c", "%T", dir)
	fmt.Fprintf(out, "Postfix %s, %s, kernel %s, %d cores, queues on %s\n",
		say(
			"postconf", "-h", "mail_version",
		), runtime.Version(), say("uname", "-r"), runtime.NumCPU(), fs)
	if fs == "tmpfs" {
		fmt.Fprintln(out, "The queues are in memory: syncing costs nothing here. Use -dir.")
	}
}

type bench struct {
	options
	out    io.Writer
	binary string // of the gateway
}

func (b *bench) run(ctx context.Context) error {
	known := loads()
	for _, key := range b.scenarios {
		var err error
		switch i := slices.IndexFunc(known, func(l load) bool { return l.key == key }); {
		case i >= 0:
			l := known[i]
			l.Messages = max(l.Sessions, int(float64(l.Messages)*b.scale))
			err = b.compare(ctx, l.String()+fmt.Sprintf(", %d messages", l.Messages), func(
				ctx context.Context, s server,
			) (figures, error) {
				return measure(ctx, s, l.Load)
			})
		case key == "queued":
			l := smtpload.Load{Sessions: 20, Size: 10 << 10, Messages: b.queued}
			err = b.compare(ctx, fmt.Sprintf(
				"next hop down, %d × 10 KB queued", l.Messages,
			), func(ctx context.Context, s server) (figures, error) {
				return fill(ctx, s, l)
			})
		case key == "idle":
			err = b.idleSessions(ctx)
		default:
			err = fmt.Errorf("no scenario %q", key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// compare measures the servers in turns and prints the medians and, with two
// servers, their ratio.
func (b *bench) compare(
	ctx context.Context, title string, measure func(context.Context, server) (figures, error),
) error {
	all := map[string][]figures{}
	for round := range b.rounds {
		order := slices.Clone(b.servers)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, name := range order {
			got, err := b.once(ctx, name, measure)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", title, name, err)
			}
			all[name] = append(all[name], got)
		}
	}
	fmt.Fprintf(b.out, "\n%s, rounds: %d\n", title, b.rounds)
	w := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\taccepted/s\tend to end/s\tCPU s per 1,000\tpeak MB\t\n")
	var medians []figures
	for _, name := range b.servers {
		m := median(all[name])
		medians = append(medians, m)
		fmt.Fprintf(
			w, "%s\t%s\t%s\t%s\t%s\t\n", name, number(m[accepted], 0), number(m[endToEnd], 0),
			number(m[cpu], 3), number(m[peak], 1),
		)
	}
	if len(medians) == 2 {
		fmt.Fprint(w, "ratio\t")
		for i := range medians[0] {
			if medians[1][i] == 0 {
				fmt.Fprint(w, "-\t")
				continue
			}
			fmt.Fprintf(w, "%.2f\t", medians[0][i]/medians[1][i])
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

// once starts a server in an empty folder, measures it and stops it.
func (b *bench) once(
	ctx context.Context, name string, measure func(context.Context, server) (figures, error),
) (figures, error) {
	dir, err := os.MkdirTemp(b.dir, name)
	if err != nil {
		return figures{}, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return figures{}, err
	}
	var s server
	switch name {
	case "gateway":
		s, err = startGateway(ctx, b.binary, dir, b.eventLog)
	case "postfix":
		s, err = startPostfix(ctx, dir)
	default:
		err = fmt.Errorf("no server %q", name)
	}
	if err != nil {
		return figures{}, err
	}
	got, err := measure(ctx, s)
	return got, errors.Join(err, s.stop())
}

// figures are what is measured in a round; 0 where there is nothing to tell.
type figures [4]float64

const (
	accepted = iota // messages per second
	endToEnd        // messages per second
	cpu             // seconds per 1,000 messages
	peak            // MB
)

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

const settle = 500 * time.Millisecond

// measure sends the mail of l through s to a sink.
func measure(ctx context.Context, s server, l smtpload.Load) (f figures, err error) {
	sink, err := smtpload.StartSink(ctx, sinkAddr)
	if err != nil {
		return f, err
	}
	defer sink.Stop()

	// Postfix starts its processes, and both open their connections, before the
	// clock runs.
	warm := l
	warm.Messages = 2 * l.Sessions
	if err := warm.Send(ctx, relayAddr); err != nil {
		return f, err
	}
	if err := sink.Wait(ctx, warm.Messages); err != nil {
		return f, err
	}
	pause(ctx, settle)

	before, err := proc.CPU(s.root())
	if err != nil {
		return f, err
	}
	memory := proc.WatchMemory(s.root())
	start := time.Now()
	err = l.Send(ctx, relayAddr)
	f[accepted] = float64(l.Messages) / time.Since(start).Seconds()
	if err == nil {
		err = sink.Wait(ctx, warm.Messages+l.Messages)
	}
	f[endToEnd] = float64(l.Messages) / time.Since(start).Seconds()
	f[peak] = memory.Stop()
	if err != nil {
		return f, err
	}
	pause(ctx, settle)
	after, err := proc.CPU(s.root())
	f[cpu] = (after - before).Seconds() / float64(l.Messages) * 1000
	return f, err
}

// fill sends the mail of l into the queue of s, whose next hop is down.
func fill(ctx context.Context, s server, l smtpload.Load) (f figures, err error) {
	before, err := proc.CPU(s.root())
	if err != nil {
		return f, err
	}
	memory := proc.WatchMemory(s.root())
	start := time.Now()
	err = l.Send(ctx, relayAddr)
	f[accepted] = float64(l.Messages) / time.Since(start).Seconds()
	pause(ctx, 2*time.Second)
	f[peak] = memory.Stop()
	after, cpuErr := proc.CPU(s.root())
	f[cpu] = (after - before).Seconds() / float64(l.Messages) * 1000
	return f, errors.Join(err, cpuErr)
}

// idleSessions prints what a session costs the gateway that has said EHLO and
// waits.
func (b *bench) idleSessions(ctx context.Context) error {
	var perSession []float64
	for range b.rounds {
		_, err := b.once(ctx, "gateway", func(ctx context.Context, s server) (figures, error) {
			empty, err := proc.PSS(s.root())
			if err != nil {
				return figures{}, err
			}
			conns, err := openSessions(ctx, b.idle)
			defer func() {
				for _, c := range conns {
					c.Close()
				}
			}()
			if err != nil {
				return figures{}, err
			}
			pause(ctx, settle)
			full, err := proc.PSS(s.root())
			perSession = append(perSession, float64(full-empty)/1024/float64(b.idle))
			return figures{}, err
		})
		if err != nil {
			return fmt.Errorf("idle: %w", err)
		}
	}
	slices.Sort(perSession)
	fmt.Fprintf(b.out, "\n%d idle sessions: %.1f KB each\n", b.idle, perSession[len(perSession)/2])
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
