package attempt

import (
	"log/slog"
	"time"

	"github.com/postern-mail/postern/auth/msgauth"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/internal/routing"
	"github.com/postern-mail/postern/relay/spool"
)

// Config is what a Deliverer works with.
type Config struct {
	Store  spool.Store
	Leases Leases
	Events Events
	// Settings are those of now. An attempt keeps the ones that it began with.
	Settings func() *Settings
	// Learn hears of what each attempt has taught, before that is settled.
	Learn Learn
	// Now reads the wall clock.
	Now func() time.Time
}

// Settings are what the configuration says of attempts.
type Settings struct {
	Hostname   string
	Postmaster string // whom reports come from
	Routes     *routing.Routes
	Retry      delivery.Retry // with its defaults
	Signer     Signer
	Log        *slog.Logger
}

// Leases are those that the relay holds.
type Leases interface {
	// Unsettled tells that the store did not take the outcome of an attempt,
	// and how long the next is to wait.
	Unsettled(id spool.DeliveryID, rest time.Duration)
	// Wake tells that something is due, or will be soon.
	Wake()
}

// Events takes what happens. It is called by many goroutines.
type Events interface {
	// About begins an event of a message as the queue knows it, by its id as
	// text.
	About(queueID string, m *spool.Message) event.Event
	// Record adds to a list what the store keeps of an event, in the step that
	// makes it true.
	Record(list []spool.Record, e *event.Event) []spool.Record
	// Publish tells of an event whose step is through.
	Publish(e event.Event)
	// Expect keeps the Accepted event of a report that is about to be
	// committed, until Announce publishes it or Forget drops it.
	Expect(e event.Event)
	Announce(queueID string)
	Forget(queueID string)
}

// Signer signs what the relay itself writes.
type Signer interface {
	// Begin begins to sign a message with that header section. It returns nil
	// if the relay does not sign for its author.
	Begin(id string, section []byte) (*msgauth.Signing, error)
	// Unfit tells the log that a message goes unsigned, and why.
	Unfit(id string, err error)
	// KeyGone tells the log that a message lost its signature, because it had
	// to be converted and its key is gone.
	KeyGone(id string)
}

// settler settles by the settings that an attempt began with.
type settler struct {
	Config
	*Settings
}
