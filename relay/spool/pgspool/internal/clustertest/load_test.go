//go:build unix

package clustertest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/smtp"
	"strings"
	"sync/atomic"
	"time"
)

// letter is a message of the load.
type letter struct {
	id, from string
	to       []string
	content  []byte
}

// letters makes them, each with addresses of its own.
type letters struct{ last atomic.Int64 }

func (l *letters) next() *letter {
	id := fmt.Sprint(l.last.Add(1))
	m := &letter{id: id, from: "s" + id + "@client.test"}
	for i := range 1 + rand.N(3) {
		name := "r"
		if rand.N(25) == 0 {
			name = "refuse"
		}
		m.to = append(m.to, fmt.Sprintf("%s%s-%d@there.test", name, id, i))
	}
	size := rand.N(10 << 10)
	if rand.N(60) == 0 {
		size = 300<<10 + rand.N(300<<10) // several rows
	}
	line := strings.Repeat("x", 70) + "\r\n"
	m.content = fmt.Appendf(nil, "From: <%s>\r\nSubject: <%s>\r\n\r\n%s%s\r\n",
		m.from, id, strings.Repeat(line, size/len(line)), endOf(id))
	return m
}

// client sends over SMTP to relays of its choice until ctx ends, and notes what
// got its final 250.
func (c *cluster) client(ctx context.Context) {
	for ctx.Err() == nil {
		n := c.nodes[rand.N(len(c.nodes))]
		if err := c.session(ctx, n.addr); err != nil {
			wait(ctx, 200*time.Millisecond)
		}
	}
}

func (c *cluster) session(ctx context.Context, addr string) error {
	conn, err := net.DialTimeout("tcp4", addr, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	// So that nobody waits for a relay that is stopped for longer than that.
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	s, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		return err
	}
	for range 10 {
		m := c.letters.next()
		if err := send(s, m); err != nil {
			return err
		}
		c.history.acknowledge(m.to...)
		wait(ctx, rand.N(200*time.Millisecond))
		if ctx.Err() != nil {
			break
		}
	}
	return s.Quit()
}

func send(c *smtp.Client, m *letter) error {
	if err := c.Mail(m.from); err != nil {
		return err
	}
	for _, to := range m.to {
		if err := c.Rcpt(to); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(m.content); err != nil {
		return err
	}
	return w.Close()
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
