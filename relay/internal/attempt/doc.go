// Package attempt makes one try at a delivery and settles it: what the
// transport said becomes a fate for each recipient, and in one step of the
// store the delivery is settled, the report to the sender queued, and the
// events kept.
//
// # Fates
//
// A recipient whose copy was taken leaves, and so does one whose failure is for
// good. All others wait for the next attempt, until the delivery expires. What
// the transport left out or contradicts itself may pass.
//
// # One step
//
// The id of a report is derived from the attempt. When the answer of the store
// was lost and the step is made again, there is still one report, and so it is
// with the events. Another outcome of the same attempt is not mistaken for it,
// since an attempt with a report is settled, and the next has another number.
//
// A step that fails is made again under the same lease, for some seconds. If
// the report is what cannot be queued, the delivery is settled without it: what
// was taken must not go out again. What failed then waits, and is told of after
// another attempt.
//
// # Without an attempt
//
// What has expired while its next hop was down, and what is late, is settled by
// what the last attempt has said. A delivery gets one attempt first after the
// relay began, or after the clock was set, unless a refusal of others since
// then speaks for it.
//
// # What senders read
//
// A report shows the reply of the remote host, or words that were written for
// the sender. Every local cause is one of a few constant texts: its details are
// for the log and the events.
package attempt
