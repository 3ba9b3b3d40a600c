package relay

import (
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/bounce"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/sched"
)

// maxFailures bounds the sites whose last failure is remembered.
const maxFailures = 1024

// Failure is a failed attempt: of several recipients, the failure that says
// most about the site.
type Failure struct {
	Time  time.Time // when the attempt ended
	Class bounce.Class
	// Code, Enhanced, Text and Host are the reply. Code is 0 when the cause is
	// local: then Text tells it, for operators only.
	Code                 int
	Enhanced, Text, Host string
}

// failures remembers the last failure at each site. Its zero value is ready.
type failures struct {
	mu   sync.Mutex
	last map[sched.Site]*Failure
}

func (f *failures) note(s sched.Site, c bounce.Class, e *delivery.Error, now time.Time) {
	failed := &Failure{
		Time: now, Class: c, Code: e.Reply.Code, Enhanced: e.Reply.Enhanced, Text: e.Reply.Text,
		Host: e.Host,
	}
	if failed.Text == "" && e.Err != nil {
		failed.Text = e.Err.Error()
	}
	failed.Text = cut(failed.Text)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last == nil {
		f.last = make(map[sched.Site]*Failure)
	}
	if f.last[s] == nil && len(f.last) >= maxFailures {
		f.forget()
	}
	f.last[s] = failed
}

// forget drops the oldest of a few. The caller holds the lock.
func (f *failures) forget() {
	const looks = 16
	var oldest sched.Site
	n := 0
	for s, failed := range f.last {
		if n == 0 || failed.Time.Before(f.last[oldest].Time) {
			oldest = s
		}
		if n++; n == looks {
			break
		}
	}
	delete(f.last, oldest)
}

// of is the last failure at a site; nil if none is known.
func (f *failures) of(s sched.Site) *Failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last[s]
}
