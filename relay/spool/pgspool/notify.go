package pgspool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	notifyEvery = 25 * time.Millisecond // at most: it takes a lock of the whole server
	notifyLimit = 5 * time.Second
	listenAgain = 5 * time.Second // after a failure
)

// channel is that of the notifications of a schema.
func (n schemaName) channel() string {
	sum := sha256.Sum256([]byte(n))
	return "postern_" + hex.EncodeToString(sum[:8])
}

// teller tells other processes that there is news, at most every 25
// milliseconds.
type teller struct {
	mu    sync.Mutex
	last  time.Time
	later bool      // a notification is to come
	since time.Time // the oldest that it is to tell of
}

// now reports whether to tell now. If not, f is called when it is time to, once
// for all that have asked meanwhile. since is when the oldest row is due, as
// far as it is not to come.
func (n *teller) now(since time.Time, f func(since time.Time)) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.later {
		n.since = earlier(n.since, since)
		return false
	}
	wait := time.Until(n.last.Add(notifyEvery))
	if wait <= 0 {
		n.last = time.Now()
		return true
	}
	n.later, n.since = true, since
	time.AfterFunc(wait, func() {
		n.mu.Lock()
		n.later, n.last, since = false, time.Now(), n.since
		n.mu.Unlock()
		f(since)
	})
	return false
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

const notifyText = "SELECT pg_notify($1, $2)"

// notify tells other processes of what the transaction has written.
func (t *transaction) notify(list *calls) {
	if (len(t.due) > 0 || t.logged) && t.teller.now(t.now, t.notifyLater) {
		list.add(nil, notifyText, t.channel(), t.news(t.now))
	}
}

func (s *Store) notifyLater(since time.Time) {
	ctx, cancel := context.WithTimeout(s.ctx, notifyLimit)
	defer cancel()
	s.exec(ctx, s.pool, notifyText, s.channel(), s.news(since)) // or they find it by themselves
}

// news says who tells, and since when there may be something: a transaction can
// take long, and its rows are due from its beginning on.
func (s *Store) news(since time.Time) string {
	return s.node.String() + " " + strconv.FormatInt(since.UnixMicro(), 10)
}

// since reads what news has written; false for news of one's own.
func (s *Store) since(news string) (time.Time, bool) {
	node, micro, _ := strings.Cut(news, " ")
	n, err := strconv.ParseInt(micro, 10, 64)
	if err != nil {
		return time.Now(), true
	}
	return time.UnixMicro(n), node != s.node.String()
}

// listenOn waits for what other processes tell, until the store ends.
func (s *Store) listenOn() {
	for s.ctx.Err() == nil {
		err := s.listen()
		if s.ctx.Err() != nil {
			return
		}
		s.log.Warn("no notifications for now", "err", err)
		s.watch.news()
		select {
		case <-s.ctx.Done():
		case <-time.After(listenAgain):
		}
	}
}

// listen waits on a connection that it takes out of the pool for good.
func (s *Store) listen() error {
	pooled, err := s.pool.Acquire(s.ctx)
	if err != nil {
		return err
	}
	conn := pooled.Hijack()
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), notifyLimit)
		defer cancel()
		conn.Close(ctx)
	}()
	if _, err := s.exec(s.ctx, conn, "LISTEN "+s.channel()); err != nil {
		return err
	}
	s.watch.news() // what came before
	s.sequencer.news()
	for {
		n, err := conn.WaitForNotification(s.ctx)
		if err != nil {
			return err
		}
		if since, ok := s.since(n.Payload); ok {
			s.watch.newsSince(since)
			s.sequencer.news()
		}
	}
}
