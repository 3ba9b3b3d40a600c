package relay

import (
	"fmt"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
)

// newRetry checks a schedule and fills in its defaults.
func newRetry(r delivery.Retry, f *faults) delivery.Retry {
	for i, d := range r.Schedule {
		if d < time.Second {
			f.addf(fmt.Sprintf("Retry.Schedule[%d]", i), "%v is shorter than a second", d)
		}
	}
	r = r.WithDefaults()
	if r.Expires < time.Second {
		f.addf("Retry.Expires", "%v is shorter than a second", r.Expires)
	}
	if d := r.DelayNotification; 0 < d && d < time.Second {
		f.addf("Retry.DelayNotification", "%v is shorter than a second; negative is never", d)
	}
	return r
}
