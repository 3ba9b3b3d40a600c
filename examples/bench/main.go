package main

import (
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

	"github.com/postern-mail/postern/examples/internal/gatewaybin"
)

type options struct {
	scenarios []string
	servers   []string
	rounds    int
	scale     float64
	eventLog  bool
	strict    bool
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

func parse(args []string) (o options, err error) {
	var scenarios, servers string
	var quick bool
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(
		&scenarios, "scenario", strings.Join(keys(), ","), "what to run, in this order",
	)
	f.StringVar(&servers, "servers", "gateway,postfix", "whom to measure")
	f.IntVar(&o.rounds, "rounds", 3, "measurements of each server per scenario")
	f.Float64Var(&o.scale, "scale", 1, "factor for the number of messages")
	f.BoolVar(&o.eventLog, "event-log", false, "the gateway keeps its events in the queue too")
	f.BoolVar(&o.strict, "strict", false, "fail when a bar is missed")
	f.StringVar(
		&o.dir, "dir", "",
		"folder for the queues and all else, on a real disk (default: a new one in the "+
			"temporary folder)",
	)
	f.BoolVar(&quick, "quick", false, "a tenth of everything, one round")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if quick {
		o.rounds, o.scale = 1, o.scale/10
	}
	o.scenarios, o.servers = strings.Split(scenarios, ","), strings.Split(servers, ",")
	for _, key := range o.scenarios {
		if !slices.Contains(keys(), key) {
			return o, fmt.Errorf("no scenario %q, but %s", key, strings.Join(keys(), ", "))
		}
	}
	return o, nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
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
	b := &bench{options: o, out: out, binary: filepath.Join(dir, "gateway")}
	if err := gatewaybin.Build(ctx, b.binary); err != nil {
		return err
	}
	if b.identity, err = newIdentity(dir); err != nil {
		return err
	}
	if err := describe(ctx, out, dir); err != nil {
		return err
	}
	return b.run(ctx)
}

// describe prints what the figures depend on.
func describe(ctx context.Context, out io.Writer, dir string) error {
	say := func(name string, args ...string) string {
		text, err := exec.CommandContext(ctx, name, args...).Output()
		if err != nil {
			return "?"
		}
		return strings.TrimSpace(string(text))
	}
	fs := say("stat", "-f", "-c", "%T", dir)
	version, kernel := say("postconf", "-d", "-h", "mail_version"), say("uname", "-r")
	disk, err := diskSpeed(dir)
	fmt.Fprintf(out, "Postfix %s, %s, kernel %s, %d cores, queues on %s: %.0f synced files of "+
		"1 MB a second\n", version, runtime.Version(), kernel, runtime.NumCPU(), fs, disk)
	if fs == "tmpfs" {
		fmt.Fprintln(out, "The queues are in memory: syncing costs nothing here. Use -dir.")
	}
	return err
}

// bench is one run of the program.
type bench struct {
	options
	out      io.Writer
	binary   string // of the gateway
	identity identity
	missed   bool
}

func (b *bench) run(ctx context.Context) error {
	for _, key := range b.scenarios {
		i := slices.IndexFunc(scenarios(), func(s scenario) bool { return s.key == key })
		if err := scenarios()[i].run(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	if b.strict && b.missed {
		return errors.New("a bar was missed")
	}
	return nil
}

// messages is how many to send where n are meant for a machine at rest.
func (b *bench) messages(n int) int { return max(1, int(float64(n)*b.scale)) }
