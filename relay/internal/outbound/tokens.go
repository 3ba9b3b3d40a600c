package outbound

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/postern-mail/postern/connector"
)

// tokenTimeout bounds the wait for a token.
const tokenTimeout = 30 * time.Second

var (
	errNoToken   = fmt.Errorf("the source of tokens did not answer within %s", tokenTimeout)
	errExit      = errors.New("the source of tokens has called runtime.Goexit")
	errSameToken = errors.New("the source gave the refused token again")
)

// tokens asks the sources of next hops, each once at a time however many
// connections wait. A failure stands for a while, so that the source is not
// asked for every message.
type tokens struct {
	mu   sync.Mutex
	hops map[hopKey]*question
}

// question is one call of a source.
type question struct {
	refused string
	done    chan struct{} // closed when token and err are known
	token   string
	err     error
	until   time.Time // of err
	open    bool      // the source has not returned yet
}

// get returns the token to log on to a next hop with, another one than refused.
func (s *tokens) get(ctx context.Context, h *hop, refused string) (string, error) {
	for {
		q := s.ask(h, refused)
		select {
		case <-q.done:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
		switch {
		case q.err != nil:
			return "", q.err
		case q.refused == refused:
			return q.token, nil
		}
	}
}

// ask returns the question under way, the one that failed of late, or a new
// one.
func (s *tokens) ask(h *hop, refused string) *question {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.hops[h.key]; q != nil && (q.open || time.Now().Before(q.until)) {
		return q
	}
	if s.hops == nil {
		s.hops = make(map[hopKey]*question)
	}
	s.forget()
	q := &question{refused: refused, done: make(chan struct{}), open: true}
	s.hops[h.key] = q
	go s.run(h.key, q, h.Tokens)
	return q
}

// forget drops what is over where there is much.
func (s *tokens) forget() {
	if len(s.hops) < maxMemo {
		return
	}
	for key, q := range s.hops {
		if !q.open {
			delete(s.hops, key)
		}
	}
}

// run asks a source. The deliveries that wait may end before it does, and it
// may stay away for good: then it is not asked again.
func (s *tokens) run(key hopKey, q *question, source connector.TokenSource) {
	ctx, cancel := context.WithTimeout(context.Background(), tokenTimeout)
	defer cancel()
	late := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		q.answer("", errNoToken)
	})
	token, err := "", errExit
	defer func() {
		late()
		s.mu.Lock()
		defer s.mu.Unlock()
		q.answer(token, err)
		if q.open = false; q.err == nil && s.hops[key] == q {
			delete(s.hops, key)
		}
	}()
	token, err = call(ctx, source, q.refused)
}

// answer settles a question, once. The caller holds the lock.
func (q *question) answer(token string, err error) {
	select {
	case <-q.done:
		return
	default:
	}
	q.token, q.err = token, err
	if err != nil {
		q.until = time.Now().Add(refusedFor)
	}
	close(q.done)
}

// call asks a source and looks at what it says.
func call(
	ctx context.Context, source connector.TokenSource, refused string,
) (token string, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("the source of tokens panicked: %v", fault)
		}
	}()
	token, err = source.Token(ctx, refused)
	switch {
	case err != nil:
		return "", fmt.Errorf("no token to log on with: %w", err)
	case token == refused && refused != "":
		return "", errSameToken
	case !fitToken(token):
		return "", errToken
	}
	return token, nil
}
