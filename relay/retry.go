package relay

import (
	"fmt"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
)

// newRetry checks a schedule and fills in its defaults.
func newRetry(r delivery.Retry, f *faults) delivery.Retry {
	checkWaits("Retry.MX", r.MX, f)
	checkWaits("Retry.Schedule", r.Schedule, f)
	r = r.WithDefaults()
	checkWait("Retry.Greylisted", r.Greylisted, f)
	checkWait("Retry.Expires", r.Expires, f)
	if d := r.DelayNotification; 0 < d && d < time.Second {
		f.addf("Retry.DelayNotification", "%v is shorter than a second; negative is never", d)
	}
	return r
}

func checkWaits(field string, waits []time.Duration, f *faults) {
	for i, d := range waits {
		checkWait(fmt.Sprintf("%s[%d]", field, i), d, f)
	}
}

func checkWait(field string, d time.Duration, f *faults) {
	if d < time.Second {
		f.addf(field, "%v is shorter than a second", d)
	}
}
