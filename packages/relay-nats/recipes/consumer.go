// A consumer in Go: messages and gaps of the relay's stream, with a look at its counters.
//
//	go get github.com/nats-io/nats.go@v1.55.0
//	STREAM=PG DURABLE=worker go run consumer.go
//
// The durable consumer exists: an administrator has made it, with the subjects of its channels and of gaps as its filter.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

type gap struct {
	Reason     string            `json:"reason"`
	Dropped    *int64            `json:"dropped"`
	Previous   string            `json:"previous"`
	PreviousOf map[string]string `json:"previousOf"`
}

// counters tell what is missing between one message and the next.
type counters struct {
	// wanted has the channels that the consumer gets; nil for all.
	wanted map[string]bool
	epoch  string
	// last has the last number of each channel; that of gaps is at "".
	last map[string]int64
	// whole tells whether the epoch was followed from its beginning, so that a channel that was not seen had no message.
	whole   bool
	highest uint64
}

const unknown = -1

// see returns how many messages are missing before one; unknown if nobody can say.
func (c *counters) see(m jetstream.Msg, sequence uint64, channel string, told *gap) int64 {
	epoch, number, ok := numbered(m.Headers().Get("Pg-Channel-Seq"))
	// What comes again was counted before.
	if !ok || sequence <= c.highest {
		return 0
	}
	c.highest = sequence
	missing := int64(0)
	if epoch != c.epoch {
		begins := told != nil && m.Headers().Get("Pg-Seq") == epoch+":1"
		isFirst := c.epoch == ""
		switch {
		case isFirst:
		case begins:
			missing = c.missingAtEnd(told)
		default:
			// Without the beginning of the new epoch nobody knows what the one before had.
			missing = unknown
		}
		c.epoch, c.last, c.whole = epoch, map[string]int64{}, begins || !isFirst
	}
	before, isKnown := c.last[channel]
	c.last[channel] = number
	if missing != unknown && (c.whole || isKnown) {
		missing += number - before - 1
	}
	return missing
}

// missingAtEnd returns how many messages of the epoch are missing, by the beginning of the next one.
func (c *counters) missingAtEnd(begun *gap) int64 {
	// A beginning with a loss of its own is told as a gap anyway.
	if begun.Dropped == nil || *begun.Dropped != 0 {
		return 0
	}
	// Another epoch was between the two, or the numbers were too many for a message.
	if epoch, _, ok := numbered(begun.Previous); !ok || epoch != c.epoch || begun.PreviousOf == nil {
		return unknown
	}
	missing := int64(0)
	for channel, text := range begun.PreviousOf {
		epoch, number, ok := numbered(text)
		before, isKnown := c.last[channel]
		isWanted := c.wanted == nil || c.wanted[channel]
		if ok && epoch == c.epoch && isWanted && (c.whole || isKnown) {
			missing += max(0, number-before)
		}
	}
	return missing
}

// numbered reads `<epoch>:<n>`.
func numbered(text string) (epoch string, number int64, ok bool) {
	epoch, after, _ := strings.Cut(text, ":")
	number, err := strconv.ParseInt(after, 10, 64)
	return epoch, number, err == nil
}

// channelsOf returns the channels that a consumer gets; nil for all.
func channelsOf(config jetstream.ConsumerConfig) map[string]bool {
	subjects := config.FilterSubjects
	if len(subjects) == 0 {
		subjects = []string{config.FilterSubject}
	}
	wanted := map[string]bool{}
	for _, subject := range subjects {
		token := subject[strings.LastIndex(subject, ".")+1:]
		if token == "" || token == "*" || token == ">" {
			return nil
		}
		if channel, err := url.PathUnescape(token); err == nil {
			wanted[channel] = true
		}
	}
	return wanted
}

func tell(reason string, dropped int64) {
	if dropped == unknown {
		fmt.Printf("gap %s unknown\n", reason)
	} else {
		fmt.Printf("gap %s %d\n", reason, dropped)
	}
}

func main() {
	address := os.Getenv("NATS_URL")
	if address == "" {
		address = nats.DefaultURL
	}
	nc, err := nats.Connect(address, nats.MaxReconnects(-1))
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatal(err)
	}
	consumer, err := js.Consumer(context.Background(), os.Getenv("STREAM"), os.Getenv("DURABLE"))
	if err != nil {
		log.Fatal(err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		log.Fatal(err)
	}
	defer messages.Stop()
	// For tests: how many messages there are.
	limit, _ := strconv.Atoi(os.Getenv("LIMIT"))
	state := counters{wanted: channelsOf(consumer.CachedInfo().Config)}
	for seen := 0; limit == 0 || seen < limit; seen++ {
		message, err := messages.Next()
		if err != nil {
			log.Fatal(err)
		}
		about, err := message.Metadata()
		if err != nil {
			log.Fatal(err)
		}
		token := message.Subject()[strings.LastIndex(message.Subject(), ".")+1:]
		channel, told := "", (*gap)(nil)
		if token == "%gap" {
			told = &gap{}
			if err := json.Unmarshal(message.Data(), told); err != nil {
				log.Fatal(err)
			}
		} else if channel, err = url.PathUnescape(token); err != nil {
			log.Fatal(err)
		}
		if missing := state.see(message, about.Sequence.Stream, channel, told); missing != 0 {
			tell("retention", missing)
		}
		switch {
		case told == nil:
			fmt.Printf("%s %s\n", channel, message.Data())
		case told.Dropped == nil:
			tell(told.Reason, unknown)
		// 0 tells of a new epoch of a durable source, in which nothing is missing.
		case *told.Dropped != 0:
			tell(told.Reason, *told.Dropped)
		}
		if err := message.DoubleAck(context.Background()); err != nil {
			log.Fatal(err)
		}
	}
}
