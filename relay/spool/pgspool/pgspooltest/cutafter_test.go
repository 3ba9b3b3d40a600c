package pgspooltest_test

import (
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool/pgspool/pgspooltest"
)

func TestCutAfter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		side pgspooltest.Side
		n    int64
		want string // what comes of the second answer
	}{
		{pgspooltest.FromServer, 0, ""},
		{pgspooltest.FromServer, 3, "one"},
		{pgspooltest.FromServer, 7, "one hi\n"},
		{pgspooltest.FromClient, 2, ""},
	} {
		p := pgspooltest.NewProxy(t, echo(t, "one "))
		first := dial(t, p)
		if got := first.ask(10 * time.Second); got != "one hi\n" {
			t.Fatalf("the answer is %q", got)
		}
		p.CutAfter(c.side, c.n)
		if got := first.ask(10 * time.Second); got != c.want {
			t.Errorf("%+v: the answer is %q", c, got)
		}
		if got := first.ask(10 * time.Second); got != "" {
			t.Errorf("%+v: the connection answers %q", c, got)
		}
		if got := dial(t, p).ask(10 * time.Second); got != "one hi\n" {
			t.Errorf("%+v: a later connection answers %q", c, got)
		}
		if got := p.Passed(pgspooltest.FromServer); got != 14+int64(len(c.want)) {
			t.Errorf("%+v: %d bytes have passed", c, got)
		}
	}
}
