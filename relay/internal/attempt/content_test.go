package attempt

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay/spool"
)

// recaller has one content in memory, and another one elsewhere.
type recaller struct {
	spool.Store
	content []byte
}

func (r recaller) Recall(spool.ID) []byte { return r.content }

func (recaller) Open(ctx context.Context, _ spool.ID) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("elsewhere")), ctx.Err()
}

// What is in memory is not read, unless the time is over.
func TestContentIsRecalled(t *testing.T) {
	for _, want := range []string{"memory", "elsewhere"} {
		s := recaller{content: []byte("memory")}
		if want != "memory" {
			s.content = nil
		}
		r, err := open(t.Context(), s, spool.ID{1})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); string(got) != want || err != nil {
			t.Errorf("read %q, %v, want %q", got, err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := recaller{content: []byte("memory")}
	if _, err := open(ctx, s, spool.ID{1}); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}
