// Command devices takes mail from printers and scanners: TLS from the first
// byte, a name and a password for each device, one address that it may send as,
// and small limits. Nobody else gets in.
//
//	htpasswd -cB devices.htpasswd printer
//	htpasswd -B devices.htpasswd scanner
//	go run ./examples/devices -device printer=printer@example.com \
//	    -device scanner=scans@example.com -users devices.htpasswd \
//	    -certificate cert.pem -key key.pem
//
// A device that sends as another address is refused (550 5.7.60), and so is one
// that shows another in the From field:
//
//	swaks --server localhost:2465 --tls-on-connect --auth LOGIN \
//	    --auth-user printer --from scans@example.com --to somebody@example.net
//
// So far it takes mail from this host alone. In real life it listens on port
// 465 and names the network in which the devices are: -listen 192.0.2.1:465
// -network 192.0.2.0/24. Type into the device: the server's name, port 465,
// "SSL/TLS" and not "STARTTLS", and authentication with its name and password.
package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

type options struct {
	listen                             netip.AddrPort
	network                            connector.Range
	users, certificate, key, smartHost string

	senders map[string][]string // of each device
}

func main() {
	o := options{senders: make(map[string][]string)}
	flag.TextVar(
		&o.listen, "listen", netip.MustParseAddrPort("127.0.0.1:2465"),
		"`address` and port to listen on",
	)
	flag.TextVar(
		&o.network, "network", connector.MustParseRange("127.0.0.1"),
		"`range` of addresses in which the devices are",
	)
	flag.StringVar(
		&o.users, "users", "devices.htpasswd", "htpasswd `file` of the devices, with bcrypt",
	)
	flag.StringVar(&o.certificate, "certificate", "cert.pem", "certificate `file`")
	flag.StringVar(&o.key, "key", "key.pem", "private key `file`")
	flag.StringVar(&o.smartHost, "smart-host", "127.0.0.1:2602", "`host:port` that takes the mail")
	flag.Func("device", "`name=address` of a device; may be repeated", o.addDevice)
	dir := flag.String("spool", "spool-devices", "`directory` of the queue")
	flag.Parse()

	if err := run(o, *dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		if errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintln(os.Stderr, "examples/README.md tells how to make the files")
		}
		os.Exit(1)
	}
}

// addDevice takes the name of a device and the one address that it may send as.
func (o *options) addDevice(s string) error {
	name, address, _ := strings.Cut(s, "=")
	a, err := domains.Parse(address)
	switch {
	case err != nil || name == "" || strings.HasPrefix(address, "*@"):
		return errors.New("write name=address")
	case strings.Contains(name, "@"):
		return errors.New("a name that is an address may be sent as too: write one without @")
	case o.senders[name] != nil:
		return errors.New("the device has an address already")
	}
	o.senders[name] = []string{a.Key()}
	return nil
}

// withoutPassword returns the devices that have no line in the file of the
// devices.
func (o *options) withoutPassword() ([]string, error) {
	content, err := os.ReadFile(o.users)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(o.senders)) {
		if !strings.Contains("\n"+string(content), "\n"+name+":") {
			list = append(list, name)
		}
	}
	return list, nil
}

func run(o options, dir string) error {
	cfg, err := config(o)
	if err != nil {
		return err
	}
	store, err := filespool.Open(dir, &filespool.Options{Logger: slog.Default()})
	if err != nil {
		return err
	}
	defer store.Close()
	cfg.Spool = store
	r, err := relay.New(cfg)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	return r.Run(ctx)
}

func config(o options) (relay.Config, error) {
	var err1 error
	if len(o.senders) == 0 {
		err1 = errors.New("-device: name at least one")
	}
	certificates, err2 := relay.LoadCertificates(
		slog.Default(), relay.CertificateFiles{Certificate: o.certificate, Key: o.key},
	)
	users, err3 := auth.OpenHtpasswd(o.users, &auth.HtpasswdOptions{OnReloadError: func(err error) {
		slog.Error("the devices read last stay", "error", err)
	}})
	without, err4 := o.withoutPassword()
	if err := errors.Join(err1, err2, cmp.Or(err3, err4)); err != nil {
		return relay.Config{}, err
	}
	for _, name := range without {
		slog.Warn(
			"a device cannot log on until the file has a password for it", "device", name, "file",
			o.users,
		)
	}
	// Whoever else is in the file does not get in.
	known := auth.VerifierFunc(func(
		ctx context.Context, c auth.Proof,
	) (*auth.Identity, error) {
		id, err := users.Verify(ctx, c)
		if err == nil && o.senders[id.User] == nil {
			return nil, auth.ErrBadCredentials
		}
		return id, err
	})
	devices := connector.Submission("devices")
	devices.Bindings = []netip.AddrPort{o.listen}
	devices.RemoteIPRanges = []connector.Range{o.network}
	devices.ImplicitTLS, devices.RequireTLS = true, true
	// A device that has run wild does little harm.
	devices.Limits.MaxMessageBytes = 20 << 20
	devices.Limits.MaxRecipients = 10
	devices.Limits.MaxConnectionsPerSource = 5
	devices.Limits.MessageRate, devices.Limits.MessageRateBy = 10, connector.RateByUser

	return relay.Config{
		Hostname:   "relay.example.com",
		Connectors: []*connector.Connector{devices},
		TLS: &tls.Config{
			GetCertificate: certificates.GetCertificate, MinVersion: tls.VersionTLS12,
		},
		Auth: &auth.Server{
			Passwords: auth.WithSenders(known, o.senders), // by LOGIN or PLAIN
			Throttle:  auth.NewThrottle(nil),
		},
		SendConnectors: []*connector.SendConnector{{
			Name:          "out",
			AddressSpaces: connector.AllDomains(),
			NextHop:       connector.NextHop{Hosts: []string{o.smartHost}},
		}},
		Logger: slog.Default(),
	}, nil
}
