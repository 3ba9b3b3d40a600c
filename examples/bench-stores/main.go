package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"
)

type options struct {
	scenarios []string
	only      []string
	rounds    int
	scale     float64
	window    time.Duration
	database  string
	profile   string
	strict    bool
}

// bench is one run of the program.
type bench struct {
	options
	out    io.Writer
	dir    string // for directories of queues
	server *server
	missed bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := start(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench-stores:", err)
		os.Exit(1)
	}
}

// start runs the benchmark, or the relay that it starts as a process of its
// own.
func start(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 && args[0] == nodeCommand {
		return runNode(ctx, args[1:])
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	return o.run(ctx, out)
}

func parse(args []string) (o options, err error) {
	var scenarios, only string
	var quick bool
	f := flag.NewFlagSet("bench-stores", flag.ContinueOnError)
	f.StringVar(
		&scenarios, "scenario", "accept,store,relay,nodes,backlog,outbox",
		"what to run, in this order",
	)
	f.StringVar(&only, "only", "", "leave out subjects whose names hold none of these words")
	f.IntVar(&o.rounds, "rounds", 3, "measurements of each subject")
	f.Float64Var(&o.scale, "scale", 1, "factor for the number of messages")
	f.DurationVar(&o.window, "window", time.Minute, "how long outbox and snapshot measure")
	f.StringVar(
		&o.database, "database", "",
		"URL of a PostgreSQL of this machine, as superuser (default: one of its own)",
	)
	f.BoolVar(&o.strict, "strict", false, "fail when a target is missed")
	f.StringVar(&o.profile, "cpuprofile", "", "file for a profile of this program")
	f.BoolVar(&quick, "quick", false, "a fiftieth of everything, one round")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if quick {
		o.rounds, o.scale, o.window = 1, o.scale/50, o.window/50
	}
	o.scenarios = strings.Split(scenarios, ",")
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	return o, nil
}

func (o options) run(ctx context.Context, out io.Writer) (err error) {
	b := &bench{options: o, out: out}
	if b.dir, err = os.MkdirTemp("", "bench-stores"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	// Postfix's processes give up root and must still reach their queue.
	if err := os.Chmod(b.dir, 0o755); err != nil {
		return err
	}
	if b.server, err = startServer(ctx, o.database); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.server.stop()) }()
	fmt.Fprintf(
		out, "PostgreSQL %s, %s, %d cores\n", b.server.version, runtime.Version(), runtime.NumCPU(),
	)
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	return b.run(ctx)
}

func (b *bench) run(ctx context.Context) error {
	known := map[string]func() scenario{
		"accept": b.accept, "store": b.store, "relay": b.relay, "nodes": b.nodes,
		"backlog": b.backlog, "outbox": b.outbox, "snapshot": b.snapshot,
	}
	for _, key := range b.scenarios {
		make, ok := known[key]
		if !ok {
			return fmt.Errorf("no scenario %q", key)
		}
		if err := b.compare(ctx, make()); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	if b.strict && b.missed {
		return errors.New("a target was missed")
	}
	return nil
}

// messages is how many to send where n are meant for a machine at rest.
func (b *bench) messages(n int) int { return max(200, int(float64(n)*b.scale)) }
