package smtpd_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/smtp"
	"strings"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/smtpd"
)

// printer prints what it is given.
type printer struct{ discard }

func (printer) Message(
	_ context.Context, _ *smtpd.Session, m *smtpd.Mail, content io.Reader,
) (string, error) {
	body, err := io.ReadAll(content)
	if err != nil {
		return "", err
	}
	fmt.Printf("%s -> %s: %s\n", m.From, m.Recipients[0].To, strings.TrimSpace(string(body)))
	return "1", nil
}

func ExampleServer() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	loopback := netip.MustParseAddr("127.0.0.1")
	set, err := connector.NewSet(&connector.Connector{
		Name:             "apps",
		Bindings:         []netip.AddrPort{netip.MustParseAddrPort(l.Addr().String())},
		RemoteIPRanges:   []connector.Range{{From: loopback, To: loopback}},
		PermissionGroups: connector.AnonymousUsers,
	})
	if err != nil {
		panic(err)
	}
	s := smtpd.New(
		smtpd.Config{
			Hostname: "relay.example.test",
			Settings: smtpd.Settings{Connectors: set, Backend: printer{}},
		},
	)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()

	err = smtp.SendMail(
		l.Addr().String(), nil, "app@example.test", []string{"user@example.test"},
		[]byte("hello\r\n"),
	)
	fmt.Println(err)
	fmt.Println(s.Shutdown(context.Background()), <-served)
	// Output:
	// app@example.test -> user@example.test: hello
	// <nil>
	// <nil> <nil>
}
