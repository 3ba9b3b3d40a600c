// Command gateway runs a mail relay from a configuration file.
//
//	gateway -config FILE          run until SIGTERM or SIGINT, then drain; SIGHUP reloads
//	gateway -config FILE -check   print every fault of the file, and exit with 2 if there is one
//	gateway -config FILE -explain 'remote=192.0.2.9 local=127.0.0.1:2525 from=a@example.test to=b@example.test'
//	                              print how the relay would decide, and why
//	gateway -password             read a password, print what the users file keeps of it: user:<this>
//
// What happens to every message goes to standard output as JSON Lines, the log to standard error.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run returns 0 when all went well, 1 when the relay failed, and 2 for a faulty configuration.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("gateway", flag.ContinueOnError)
	flags.SetOutput(stderr)
	path := flags.String("config", "gateway.toml", "configuration `file`")
	only := flags.Bool("check", false, "check the configuration and exit")
	question := flags.String("explain", "", "explain the decisions on a session, `words` such as remote=ADDRESS from=MAILBOX to=MAILBOX")
	secret := flags.Bool("password", false, "read a password from standard input and print what the users file keeps of it, for SCRAM too")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		flags.Usage()
		return 2
	}
	if *secret {
		return keep(stdin, stdout, stderr)
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	last := newLasting()
	cfg, dir, found := load(*path, last, log)
	if *only {
		return report(found, stdout)
	}
	if len(found) > 0 {
		return report(found, stderr)
	}
	if *question != "" {
		return explain(cfg, sendersOf(*path), *question, stdout, stderr)
	}
	store, err := filespool.Open(dir, nil)
	if err != nil {
		log.Error("cannot open the spool", "err", err)
		return 1
	}
	defer store.Close()
	events := newEventLog(stdout, log)
	cfg.Spool, cfg.Logger, cfg.Events = store, log, events.Add
	r, err := relay.New(cfg)
	if err != nil {
		log.Error("cannot start", "err", err)
		return 1
	}

	signal.Ignore(syscall.SIGPIPE) // a reader of events that goes away is no reason to stop
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	if err := r.Listen(); err != nil {
		found.explain(err)
		for _, f := range found {
			log.Error("cannot listen", "field", f.field, "err", f.err)
		}
		return 1
	}
	for _, c := range cfg.Connectors {
		log.Info("listening", "connector", c.Name, "addresses", r.Addrs(c.Name))
	}
	go func() {
		for range hup {
			reload(r, *path, dir, last, events.Add, log)
		}
	}()
	err = r.Run(ctx)
	events.Close()
	if err != nil {
		log.Error("stopped", "err", err)
		return 1
	}
	log.Info("stopped")
	return 0
}

// keep prints what to store for a password.
func keep(stdin io.Reader, stdout, stderr io.Writer) int {
	line, err := bufio.NewReader(io.LimitReader(stdin, 4096)).ReadString('\n')
	if err != nil && err != io.EOF {
		fmt.Fprintln(stderr, err)
		return 1
	}
	keys, err := auth.NewSCRAMKeys(strings.TrimRight(line, "\r\n"))
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	fmt.Fprintln(stdout, keys)
	return 0
}

// reload takes over a changed file; a faulty one changes nothing. Sessions under way go on.
func reload(r *relay.Relay, path, dir string, last *lasting, events func(relay.Event), log *slog.Logger) {
	cfg, newDir, found := load(path, last, log)
	if len(found) == 0 {
		cfg.Events = events
		found.explain(r.Reload(cfg))
	}
	for _, f := range found {
		log.Error("configuration not reloaded", "field", f.field, "err", f.err)
	}
	if len(found) > 0 {
		return
	}
	if newDir != dir {
		log.Warn("another spool takes a restart", "spool", newDir)
	}
	log.Info("configuration reloaded", "file", path)
}

func report(found faults, w io.Writer) int {
	for _, f := range found {
		fmt.Fprintln(w, f)
	}
	if len(found) > 0 {
		return 2
	}
	return 0
}
