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
	Reason  string `json:"reason"`
	Dropped *int64 `json:"dropped"`
}

// counters tell what is missing between one message and the next.
type counters struct {
	epoch string
	last  map[string]int64
	// whole tells whether the epoch was followed from its beginning, so that a subject that was not seen had no message.
	whole   bool
	highest uint64
}

const unknown = -1

// see returns how many messages are missing before one; unknown if nobody can say.
func (c *counters) see(m jetstream.Msg, sequence uint64) int64 {
	epoch, text, ok := strings.Cut(m.Headers().Get("Pg-Channel-Seq"), ":")
	number, err := strconv.ParseInt(text, 10, 64)
	// What comes again was counted before.
	if !ok || err != nil || sequence <= c.highest {
		return 0
	}
	c.highest = sequence
	begins := m.Headers().Get("Pg-Seq") == epoch+":1"
	isNew, isFirst := epoch != c.epoch, c.epoch == ""
	if isNew {
		c.epoch, c.last, c.whole = epoch, map[string]int64{}, begins || !isFirst
	}
	before, isKnown := c.last[m.Subject()]
	c.last[m.Subject()] = number
	switch {
	case isNew && !isFirst && !begins:
		// The beginning of an epoch is a gap of its own; without it nobody knows what the one before had.
		return unknown
	case c.whole || isKnown:
		return number - before - 1
	default:
		return 0
	}
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
	state := counters{}
	for seen := 0; limit == 0 || seen < limit; seen++ {
		message, err := messages.Next()
		if err != nil {
			log.Fatal(err)
		}
		about, err := message.Metadata()
		if err != nil {
			log.Fatal(err)
		}
		if missing := state.see(message, about.Sequence.Stream); missing != 0 {
			tell("retention", missing)
		}
		token := message.Subject()[strings.LastIndex(message.Subject(), ".")+1:]
		if token == "%gap" {
			told := gap{}
			if err := json.Unmarshal(message.Data(), &told); err != nil {
				log.Fatal(err)
			}
			// 0 tells of a new epoch of a durable source, in which nothing is missing.
			if told.Dropped == nil {
				tell(told.Reason, unknown)
			} else if *told.Dropped != 0 {
				tell(told.Reason, *told.Dropped)
			}
		} else if channel, err := url.PathUnescape(token); err == nil {
			fmt.Printf("%s %s\n", channel, message.Data())
		}
		if err := message.DoubleAck(context.Background()); err != nil {
			log.Fatal(err)
		}
	}
}
