package smtpload

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// answerLimit is how long a relay may take for an answer.
const answerLimit = time.Minute

// Source sends a Load by itself, for what smtp-source cannot: TLS, other
// recipients for each message, and fields in its header. It sends the commands
// of a transaction at once.
type Source struct {
	Load
	// Recipients are those of the message with a number. Defaults to one, the
	// same for all.
	Recipients func(i int) []string
	// Field is a line in the header of the message with a number. Defaults to
	// none.
	Field func(i int) string
	// TLS is how STARTTLS is done. Defaults to no TLS.
	TLS *tls.Config
	// Sent is told that the relay has taken the message with a number, by many
	// goroutines. Defaults to nobody.
	Sent func(i int)
	// Every is the time between two messages of a session. Defaults to none.
	Every time.Duration
}

// Send returns when the relay at addr has taken all messages. It takes no
// refusal.
func (s *Source) Send(ctx context.Context, addr string) error {
	group, ctx := errgroup.WithContext(ctx)
	body := s.body()
	var next atomic.Int64
	for range s.Sessions {
		group.Go(func() error {
			var c *client
			defer func() { c.quit() }()
			for {
				i := int(next.Add(1)) - 1
				if i >= s.Messages || ctx.Err() != nil {
					return ctx.Err()
				}
				var err error
				if c == nil {
					if c, err = s.dial(ctx, addr); err != nil {
						return err
					}
				}
				if err := c.send(s.envelope(i), s.header(i), body); err != nil {
					return fmt.Errorf("message %d: %w", i, err)
				}
				if s.Sent != nil {
					s.Sent(i)
				}
				if !s.Reuse {
					c.quit()
					c = nil
				}
				if s.Every > 0 {
					pause(ctx, s.Every)
				}
			}
		})
	}
	return group.Wait()
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// body has lines of 78 octets, the line ends among them.
func (s *Source) body() []byte {
	const line = "La de da de da 1. La de da de da 2. La de da de da 3. La de da de da 4. ----\r\n"
	return []byte(strings.Repeat(line, s.Size/len(line)+1)[:s.Size] + "\r\n.\r\n")
}

// envelope are the commands of a transaction, DATA the last.
func (s *Source) envelope(i int) []string {
	to := []string{"recipient@example.net"}
	if s.Recipients != nil {
		to = s.Recipients(i)
	}
	commands := []string{"MAIL FROM:<sender@example.test>"}
	for _, one := range to {
		commands = append(commands, "RCPT TO:<"+one+">")
	}
	return append(commands, "DATA")
}

func (s *Source) header(i int) string {
	h := "From: <sender@example.test>\r\nTo: undisclosed-recipients:;\r\n" +
		"Subject: a message of the load\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\n" +
		fmt.Sprintf("Message-Id: <%d.%d@load.example.test>\r\n", i, time.Now().UnixNano())
	if s.Field != nil {
		h += s.Field(i) + "\r\n"
	}
	return h + "\r\n"
}

// client is a session with a relay.
type client struct {
	conn net.Conn
	r    *textproto.Reader
	w    *bufio.Writer
	stop func() bool // of what ends it with the load
}

func (s *Source) dial(ctx context.Context, addr string) (c *client, err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c = &client{stop: context.AfterFunc(ctx, func() { conn.Close() })}
	c.on(conn)
	defer func() {
		if err != nil {
			c.stop()
			conn.Close()
		}
	}()
	if err := c.expect(220); err != nil {
		return nil, err
	}
	if err := c.say(250, "EHLO load.example.test"); err != nil {
		return nil, err
	}
	if s.TLS == nil {
		return c, nil
	}
	if err := c.say(220, "STARTTLS"); err != nil {
		return nil, err
	}
	c.on(tls.Client(conn, s.TLS))
	return c, c.say(250, "EHLO load.example.test")
}

func (c *client) on(conn net.Conn) {
	c.conn, c.w = conn, bufio.NewWriterSize(conn, 16<<10)
	c.r = textproto.NewReader(bufio.NewReader(conn))
}

// say sends a command and waits for an answer of a code.
func (c *client) say(code int, command string) error {
	_, _ = c.w.WriteString(command + "\r\n")
	return c.expect(code)
}

func (c *client) expect(code int) error {
	if err := c.conn.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return err
	}
	if err := c.w.Flush(); err != nil {
		return err
	}
	_, _, err := c.r.ReadResponse(code)
	return err
}

// send is one transaction, whose commands go out together (RFC 2920).
func (c *client) send(commands []string, header string, body []byte) error {
	for _, command := range commands {
		_, _ = c.w.WriteString(command + "\r\n")
	}
	for range len(commands) - 1 {
		if err := c.expect(250); err != nil {
			return err
		}
	}
	if err := c.expect(354); err != nil {
		return err
	}
	_, _ = c.w.WriteString(header)
	if n := c.w.Available(); len(body) > n { // without another copy
		_, _ = c.w.Write(body[:n])
		body = body[n:]
	}
	_, _ = c.w.Write(body)
	return c.expect(250)
}

// quit ends a session, if there is one.
func (c *client) quit() {
	if c == nil {
		return
	}
	_ = c.say(221, "QUIT")
	c.stop()
	c.conn.Close()
}
