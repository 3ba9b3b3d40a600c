// Command webapp is a web application with a mail relay inside. It needs no
// configuration, no privileges and no network:
//
//	go run ./examples/webapp
//
// It has a form that sends mail, a connector for hosts that may relay without a
// password, another for users who log on, and, in place of a next hop, an inbox
// in the browser that captures all mail. The relay shows itself at /relay/.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/examples/internal/openspool"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/admin"
	"github.com/postern-mail/postern/relay/spool"
)

const (
	domain   = "example.test" // the application's own
	demoUser = "demo@" + domain
	appFrom  = "webapp@" + domain
)

func main() {
	web := flag.String("addr", "127.0.0.1:8025", "`address` of the web pages")
	anonymous := flag.String("relay", "127.0.0.1:2525", "`address` of the relay for this host")
	submission := flag.String("submission", "127.0.0.1:2587", "`address` for users who log on")
	place := flag.String("spool", "", "`directory` or postgres:// URL of the queue; a temporary "+
		"directory if empty")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *web, *anonymous, *submission, *place); err != nil {
		fmt.Fprintln(os.Stderr, "webapp:", err)
		if errors.Is(err, syscall.EADDRINUSE) {
			fmt.Fprintln(
				os.Stderr,
				"webapp: the port is taken; choose others with -addr, -relay and -submission",
			)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, web, anonymous, submission, where string) error {
	temp, err := os.MkdirTemp("", "webapp-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if where == "" {
		where = filepath.Join(temp, "spool")
	}
	place, err := openspool.Parse(where)
	if err != nil {
		return err
	}
	queue, closeQueue, err := place.Open(ctx, slog.Default())
	if err != nil {
		return err
	}
	defer closeQueue()
	a, err := newApp(queue, temp, anonymous, submission)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", web)
	if err != nil {
		return err
	}
	if err := a.relay.Listen(); err != nil {
		return err
	}
	a.printLines(out, l.Addr().String())
	return a.serve(ctx, l)
}

// app is the application: its pages, its relay and what they share.
type app struct {
	page        *template.Template
	relay       *relay.Relay
	admin       http.Handler // shows the relay
	inbox       *inbox
	password    string // of demoUser
	certificate string // file
}

func newApp(store spool.Store, dir, anonymous, submission string) (*app, error) {
	a := &app{
		inbox: &inbox{}, password: rand.Text()[:12], certificate: filepath.Join(dir, "cert.pem"),
	}
	var err error
	if a.page, err = template.ParseFS(files, "page.html"); err != nil {
		return nil, err
	}
	tlsConfig, err := selfMade(a.certificate)
	if err != nil {
		return nil, err
	}
	// Hosts that may send to anybody without a password: this one.
	apps := connector.AnonymousRelay("apps", connector.MustParseRange("127.0.0.1"))
	apps.Limits.Tarpit = -1 // refusals come at once, for the demonstration
	if apps.Bindings, err = bindings(anonymous); err != nil {
		return nil, err
	}
	// Users log on, inside TLS only, and then send as themselves.
	people := connector.Submission("submission")
	people.Limits.Tarpit, people.Limits.AuthTarpit = -1, -1
	if people.Bindings, err = bindings(submission); err != nil {
		return nil, err
	}

	a.relay, err = relay.New(relay.Config{
		Hostname:   "relay." + domain,
		Spool:      store,
		Connectors: []*connector.Connector{apps, people},
		TLS:        tlsConfig,
		Verifier:   auth.Static(map[string]string{demoUser: a.password}),
		AcceptedDomains: []domains.AcceptedDomain{{
			Domain: domain, Type: domains.Authoritative,
			Recipients: domains.StaticRecipients("alice", "bob", "demo", "webapp", "postmaster"),
		}},
		Mailboxes: a.inbox, // mail for the application's own recipients
		Transport: a.inbox, // all other mail; a real application has SendConnectors here
		Events:    a.inbox.event,
		Logger: slog.New(
			slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}),
		),
	})
	if err != nil {
		return nil, err
	}
	a.admin, err = admin.New(admin.Config{
		Relay: a.relay, Authorize: fromThisHost, Operate: fromThisHost,
	})
	return a, err
}

// fromThisHost stands in for the session of an operator, which a real
// application asks about. Behind a proxy on the same host it would let
// everybody in, for all requests come from there: do not copy it.
func fromThisHost(r *http.Request) bool {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && addr.Addr().Unmap().IsLoopback()
}

func bindings(addr string) ([]netip.AddrPort, error) {
	b, err := netip.ParseAddrPort(addr)
	return []netip.AddrPort{b}, err
}

// serve runs the pages and the relay until ctx ends.
func (a *app) serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &http.Server{
		Handler: a.pages(), ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
	}
	web := make(chan error, 1)
	go func() {
		defer cancel()
		web <- server.Serve(l)
	}()
	err := a.relay.Run(ctx) // returns when mail under way has been dealt with
	stop, end := context.WithTimeout(context.Background(), 5*time.Second)
	defer end()
	if e := server.Shutdown(stop); e != nil {
		_ = server.Close()
	}
	if e := <-web; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}
