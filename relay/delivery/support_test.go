package delivery_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net"
	"strings"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// host is a mail host that takes everything, and tells to whom it came.
type host struct {
	net.Listener
	lmtp bool
	mail chan string
}

func newHost(lmtp bool) *host {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	h := &host{Listener: l, lmtp: lmtp, mail: make(chan string, 100)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go h.serve(c)
		}
	}()
	return h
}

func (h *host) addr() string { return h.Addr().String() }

func (h *host) serve(c net.Conn) {
	defer c.Close()
	fmt.Fprint(c, "220 host.test ESMTP\r\n")
	var to []string
	content := false
	for s := bufio.NewScanner(c); s.Scan(); {
		line := s.Text()
		answers := 1
		switch verb := strings.ToUpper(line[:min(len(line), 4)]); {
		case content && line != ".":
			continue
		case content:
			if h.mail <- strings.Join(to, " "); h.lmtp {
				answers = len(to)
			}
			content, to = false, nil
		case verb == "DATA":
			content = true
			fmt.Fprint(c, "354 go on\r\n")
			continue
		case verb == "RCPT":
			_, rest, _ := strings.Cut(line, "<")
			address, _, _ := strings.Cut(rest, ">")
			to = append(to, address)
		}
		fmt.Fprint(c, strings.Repeat("250 2.0.0 ok\r\n", answers))
	}
}

// running is a relay that is closed by what it returns.
func running(cfg relay.Config) (*relay.Relay, func()) {
	cfg.Hostname, cfg.Spool = "relay.example.com", memspool.New(nil)
	r, err := relay.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	go r.Run(context.Background())
	return r, func() { r.Close() }
}

// submit sends a short message.
func submit(r *relay.Relay, to ...string) {
	_, err := r.Submit(context.Background(), &relay.Message{
		From: "app@example.com", To: to,
		Content: strings.NewReader("Subject: Hello\n\nHello\n"),
	})
	if err != nil {
		log.Fatal(err)
	}
}
