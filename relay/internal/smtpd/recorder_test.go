package smtpd_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing/synctest"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/internal/smtpd"
)

// accepted is a message that the recorder took.
type accepted struct {
	mail smtpd.Mail
	body string
}

// recorder is a backend that does what the names in the commands say.
type recorder struct {
	mu        sync.Mutex
	messages  []accepted
	failures  []error // read errors seen by Message
	rejected  []smtpd.Rejection
	loggedOn  []string
	connected int
	inside    atomic.Int32 // calls of the session under way

	byWriteTo bool
	hold      chan struct{} // Message waits for it
}

func (b *recorder) enter() func() {
	if b.inside.Add(1) != 1 {
		panic("overlapping calls")
	}
	return func() { b.inside.Add(-1) }
}

func (b *recorder) act(name string) error {
	switch name {
	case "refused":
		return &policy.Reply{Code: 550, Enhanced: "5.1.1", Text: "User unknown"}
	case "later":
		return &policy.Reply{Code: 451, Enhanced: "4.3.0", Text: "Later"}
	case "leave":
		return &policy.Reply{Code: 421, Enhanced: "4.3.2", Text: "Go away"}
	case "plain":
		return errors.New("dial db.internal:5432\r\n250 2.0.0 forged")
	case "wrapped":
		return fmt.Errorf(
			"policy: %w",
			&policy.Reply{
				Code: 550, Enhanced: "5.7.1", Text: "No\r\n250 forged", Cause: errors.New("secret"),
			},
		)
	case "odd":
		return &policy.Reply{Code: 250, Text: "fine"}
	case "nil":
		var r *policy.Reply
		return r
	case "bare":
		return &policy.Reply{Code: 550, Enhanced: "4.7.1", Text: "No"}
	case "boom":
		panic("boom")
	}
	return nil
}

func (b *recorder) Connect(_ context.Context, s *smtpd.Session) error {
	defer b.enter()()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.connected++
	if s.Remote.Addr() == netip.MustParseAddr("192.0.2.66") {
		return &policy.Reply{Code: 554, Enhanced: "5.7.1", Text: "Listed"}
	}
	return nil
}

func (b *recorder) Helo(_ context.Context, s *smtpd.Session) error {
	defer b.enter()()
	return b.act(strings.TrimSuffix(s.Helo, ".test"))
}

// Verify knows everybody by the password "secret".
func (b *recorder) Verify(ctx context.Context, c auth.Proof) (*auth.Identity, error) {
	defer b.enter()()
	switch {
	case c.Username == "down":
		return nil, errors.New("ldap: connection refused by 10.0.0.7")
	case c.Username == "slow":
		<-ctx.Done()
		return nil, ctx.Err()
	case c.Username == "none":
		return nil, nil
	case c.Username == "boom":
		panic("boom")
	case c.Password != "secret":
		return nil, fmt.Errorf("users: %w", auth.ErrBadCredentials)
	}
	return &auth.Identity{User: c.Username, Server: c.Username == "server"}, nil
}

func (b *recorder) Auth(_ context.Context, s *smtpd.Session) error {
	defer b.enter()()
	if s.Identity.User == "barred" {
		return &policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "Account disabled"}
	}
	return nil
}

func (b *recorder) Mail(_ context.Context, s *smtpd.Session, m *smtpd.Mail) error {
	defer b.enter()()
	if !s.Rights.Has(connector.Submit) {
		return &policy.Reply{Code: 530, Enhanced: "5.7.1", Text: "Client was not authenticated"}
	}
	return b.act(m.From.Local())
}

func (b *recorder) Rcpt(_ context.Context, s *smtpd.Session, m *smtpd.Mail, r *smtpd.Rcpt) error {
	defer b.enter()()
	return b.act(r.To.Local())
}

func (b *recorder) Message(
	ctx context.Context, s *smtpd.Session, m *smtpd.Mail, content io.Reader,
) (string, error) {
	defer b.enter()()
	switch m.Recipients[0].To.Local() {
	case "unread":
		return "never", nil
	case "full":
		return "", &policy.Reply{
			Code: 452, Enhanced: "4.3.1", Text: "Insufficient system resources",
		}
	case "broken":
		panic("broken")
	case "mid":
		_, _ = io.ReadFull(content, make([]byte, 3))
		return "", errors.New("disk error on /var/spool")
	}
	var body strings.Builder
	var err error
	if b.byWriteTo {
		_, err = content.(io.WriterTo).WriteTo(&body)
	} else {
		_, err = io.Copy(&body, struct{ io.Reader }{content})
	}
	if err == nil && b.hold != nil {
		select {
		case <-b.hold:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.failures = append(b.failures, err)
		return "", err
	}
	b.messages = append(b.messages, accepted{*m, body.String()})
	return fmt.Sprintf("Q%d", len(b.messages)), nil
}

func (b *recorder) LoggedOn(s *smtpd.Session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.loggedOn = append(b.loggedOn, s.Identity.User+" by "+string(s.Mechanism))
}

func (b *recorder) Rejected(_ *smtpd.Session, r smtpd.Rejection) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rejected = append(b.rejected, r)
}

func (b *recorder) taken() []accepted {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]accepted(nil), b.messages...)
}

// refusals returns what the backend was told of.
func (b *recorder) refusals() []smtpd.Rejection {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]smtpd.Rejection(nil), b.rejected...)
}

// blocks counts the writes that content makes.
type blocks struct {
	*recorder
	writes, octets int
}

func (b *blocks) Write(p []byte) (int, error) {
	b.writes++
	b.octets += len(p)
	return len(p), nil
}

func (b *blocks) Message(
	_ context.Context, _ *smtpd.Session, _ *smtpd.Mail, content io.Reader,
) (string, error) {
	_, err := content.(io.WriterTo).WriteTo(b)
	return "id", err
}

// watcher notes what the session shows at MAIL.
type watcher struct {
	*recorder
	seen []string
}

func (w *watcher) Mail(_ context.Context, s *smtpd.Session, m *smtpd.Mail) error {
	user := ""
	if s.Identity != nil {
		user = s.Identity.User
	}
	w.seen = append(w.seen, fmt.Sprintf("mail helo=%s esmtp=%v tls=%v user=%s any=%v",
		s.Helo, s.ESMTP, s.TLS != nil, user, s.Rights.Has(connector.AcceptAnyRecipient)))
	return nil
}

func (w *watcher) Rcpt(_ context.Context, s *smtpd.Session, m *smtpd.Mail, r *smtpd.Rcpt) error {
	r.Value = "kept"
	return nil
}
