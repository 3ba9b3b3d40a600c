package smtpd_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/smtpd"
)

func TestShutdownTellsIdleSessions(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		greeted := func() *client {
			p := r.client()
			p.Expect("220 *")
			return p
		}
		idle, fresh, mail, busy, sending := greeted(), greeted(), greeted(), greeted(), greeted()
		idle.EHLO()
		mail.EHLO()
		// without a recipient there is nothing to wait for
		mail.Say("MAIL FROM:<nobody.yet@example.test>")
		mail.Expect("250 *")
		busy.EHLO()
		busy.begin()
		sending.EHLO()
		sending.begin()
		sending.Say("DATA")
		sending.Expect("354 *")
		sending.Say("first")
		synctest.Wait()

		done := make(chan error, 1)
		go func() { done <- r.server.Shutdown(t.Context()) }()
		for _, p := range []*client{idle, fresh, mail} {
			p.Expect("421 4.3.2 Service shutting down, closing transmission channel")
			p.ExpectClose()
		}
		sending.Say("second", ".", "MAIL FROM:<more@example.test>")
		sending.Expect("250 2.0.0 *", "421 4.3.2 *")
		sending.ExpectClose()
		select {
		case err := <-done:
			t.Fatal("Shutdown did not wait for the transaction", err)
		default:
		}
		busy.Say("RSET")
		busy.Expect("250 *", "421 4.3.2 *")
		busy.ExpectClose()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := r.server.Serve(newMemory()); !errors.Is(err, smtpd.ErrServerClosed) {
			t.Errorf("Serve after Shutdown: %v", err)
		}
		if err := r.server.Shutdown(t.Context()); err != nil {
			t.Errorf("second Shutdown: %v", err)
		}
		if err := r.server.Close(); err != nil {
			t.Errorf("Close after Shutdown: %v", err)
		}
	})
}

func TestShutdownGivesUp(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.backend.hold = make(chan struct{})
		p := r.client()
		p.Expect("220 *")
		p.EHLO()
		p.begin()
		p.Say("DATA")
		p.Expect("354 *")
		p.Say("text", ".")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		p.ExpectClose()
		synctest.Wait()
		if n := len(r.backend.taken()); n != 0 {
			t.Errorf("%d messages after the connection was cut", n)
		}
	})
}
