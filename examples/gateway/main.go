// Command gateway runs a mail relay from a configuration file.
//
//	gateway -config FILE
//		runs until SIGTERM or SIGINT, then drains; SIGHUP reloads
//	gateway -config FILE -check
//		prints every fault of the file, and exits with 2 if there is one
//	gateway -config FILE -explain 'remote=192.0.2.9 from=a@example.test …'
//		prints how the relay would decide, and why
//	gateway -password
//		reads a password, prints what the users file keeps: user:<this>
//	gateway -move-spool FROM TO
//		moves the queue from one directory or postgres:// URL to another
//	gateway -from-exchange DIR
//		prints a file made from the dumps of an Exchange server in DIR
//
// What happens to every message goes to standard output as JSON Lines, the log
// to standard error. Neither holds up mail: what nobody reads is dropped, and
// counted.
//
// The dumps are receive.json, accepted.json, send.json and permissions.json;
// the documentation of package connector/exchange has the PowerShell lines that
// write them. Comments at the end of the file say what differs: read them
// before you start a gateway.
//
// Under systemd it tells when it is ready, reloading and stopping, and that it
// lives: gateway.service is a unit for it.
package main

import (
	"bufio"
	"context"
	"errors"
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
	"github.com/postern-mail/postern/relay/event"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// task is what the arguments ask for.
type task struct {
	config           string
	check, password  bool
	move             bool
	from, to         string // of move
	explain          string
	dumps            string // directory
	server, hostname string
}

// parse reads the arguments. Where it reports false, the exit code is known.
func parse(args []string, stderr io.Writer) (c task, code int, ok bool) {
	flags := flag.NewFlagSet("gateway", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&c.config, "config", "gateway.toml", "configuration `file`")
	flags.BoolVar(&c.check, "check", false, "check the configuration and exit")
	flags.StringVar(&c.explain, "explain", "", "explain the decisions on a session, `words` "+
		"such as remote=ADDRESS from=MAILBOX to=MAILBOX")
	flags.BoolVar(&c.password, "password", false, "read a password from standard input and "+
		"print what the users file keeps of it, for SCRAM too")
	flags.BoolVar(&c.move, "move-spool", false, "move the queue `FROM TO`, each a directory or a "+
		"postgres:// URL; no gateway may run on FROM; start it again after a failure")
	flags.StringVar(&c.dumps, "from-exchange", "", "print a configuration file made from the "+
		"dumps of an Exchange server in `directory`")
	flags.StringVar(&c.server, "server", "", "with -from-exchange, `name` of the server whose "+
		"receive connectors are wanted (default all)")
	flags.StringVar(&c.hostname, "hostname", "", "with -from-exchange, `name` of the gateway "+
		"(default the server's)")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return c, 0, false
	case err != nil: // which Parse has told
		return c, 2, false
	case c.move && flags.NArg() == 2:
		c.from, c.to = flags.Arg(0), flags.Arg(1)
	case c.move, flags.NArg() > 0, c.dumps == "" && c.server+c.hostname != "":
		flags.Usage()
		return c, 2, false
	}
	return c, 0, true
}

// run returns 0 when all went well, 1 when the relay failed or a dump cannot be
// read, and 2 for a faulty configuration.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c, code, ok := parse(args, stderr)
	switch {
	case !ok:
		return code
	case c.password:
		return keep(stdin, stdout, stderr)
	case c.move:
		return moveSpool(c.from, c.to, stdout, stderr)
	case c.dumps != "":
		return fromExchange(c.dumps, c.server, c.hostname, stdout, stderr)
	case c.check:
		_, _, found := load(c.config, newLasting(), textLog(stderr))
		return report(found, stdout)
	case c.explain != "":
		cfg, _, found := load(c.config, newLasting(), textLog(stderr))
		if len(found) > 0 {
			return report(found, stderr)
		}
		return explain(cfg, sendersOf(c.config), c.explain, stdout, stderr)
	}
	return serve(c.config, stdout, stderr)
}

func textLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// serve runs the relay until a signal ends it.
func serve(path string, stdout, stderr io.Writer) int {
	// Before anything takes time: a signal to reload does not end what is only
	// starting.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	signal.Ignore(syscall.SIGPIPE) // a reader that goes away is no reason to stop

	lines := newLog(stderr)
	defer lines.Close()
	log := textLog(lines)
	last := newLasting()
	cfg, place, found := load(path, last, log)
	if len(found) > 0 {
		return report(found, lines)
	}
	queue, closeQueue, err := place.Open(context.Background(), log)
	if err != nil {
		log.Error("cannot open the spool", "err", err)
		return 1
	}
	defer closeQueue()
	events := newEventLog(stdout, log)
	defer events.Close()
	cfg.Spool, cfg.Logger, cfg.Events = queue, log, events.Add
	last.keep(place.scramSecret, cfg.Auth, log)
	last.share(place, queue)
	last.guard(cfg.Auth)
	r, err := relay.New(cfg)
	if err != nil {
		log.Error("cannot start", "err", err)
		return 1
	}

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	if err := r.Listen(); err != nil {
		found.explain(err)
		for _, f := range found {
			log.Error("cannot listen", "field", f.field, "err", f.err)
		}
		return 1
	}
	manager := newNotifier(os.Getenv, log)
	manager.Send("READY=1")
	defer context.AfterFunc(ctx, func() { manager.Send("STOPPING=1") })()
	alive, dead := context.WithCancel(context.Background())
	defer dead()
	go manager.Watch(alive) // also while it drains
	go func() {
		for range hup {
			if ctx.Err() != nil {
				log.Info("configuration not reloaded, since the gateway stops")
				continue
			}
			manager.Reloading()
			reload(r, path, place, last, events.Add, log)
			manager.Send("READY=1")
		}
	}()
	if err := r.Run(ctx); err != nil {
		log.Error("stopped", "err", err)
		return 1
	}
	log.Info("stopped")
	return 0
}

// keep prints what to store for a password.
func keep(stdin io.Reader, stdout, stderr io.Writer) int {
	line, err := bufio.NewReader(io.LimitReader(stdin, 4096)).ReadBytes('\n')
	if err == nil || err == io.EOF {
		line, err = textOf(line)
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	keys, err := auth.NewSCRAMKeys(strings.TrimRight(string(line), "\r\n"))
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	fmt.Fprintln(stdout, keys)
	return 0
}

// reload takes over a changed file; a faulty one changes nothing. Sessions
// under way go on.
func reload(
	r *relay.Relay, path string, place storage, last *lasting, events func(event.Event),
	log *slog.Logger,
) {
	cfg, newPlace, found := load(path, last, log)
	if len(found) == 0 {
		cfg.Events = events
		last.keep(place.scramSecret, cfg.Auth, log)
		last.guard(cfg.Auth)
		found.explain(r.Reload(cfg))
	}
	for _, f := range found {
		log.Error("configuration not reloaded", "field", f.field, "err", f.err)
	}
	if len(found) > 0 {
		return
	}
	if newPlace.String() != place.String() {
		log.Warn("another spool takes a restart", "spool", newPlace.String())
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
