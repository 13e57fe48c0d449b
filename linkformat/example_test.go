package linkformat_test

import (
	"fmt"
	"net/url"

	"github.com/coapkit/coap/linkformat"
)

func Example() {
	links, err := linkformat.Parse([]byte(
		`</sensors/light>;rt="light-lux core.sen-light";obs,</firmware>;rt=firmware;sz=262144;title="Release 2.1"`))
	if err != nil {
		fmt.Println(err)
	}
	for _, l := range links {
		size, _ := l.Size()
		fmt.Printf("%s %q observable=%v size=%d %q\n", l.Target, l.Values("rt"), l.Observable(), size, l.Title())
	}
	// Output:
	// /sensors/light ["light-lux" "core.sen-light"] observable=true size=0 ""
	// /firmware ["firmware"] observable=false size=262144 "Release 2.1"
}

func ExampleCursor() {
	c := linkformat.NewCursor([]byte(`</sensors>;ct=40;title="Sensor \"Index\"",</t>;obs,</u`))
	for c.Next() {
		fmt.Printf("%s\n", c.Link().Target())
		params := c.Link().Params()
		for params.Next() {
			p := params.Param()
			fmt.Printf("  %s %q\n", p.Name, p.AppendValue(nil))
		}
	}
	fmt.Println(c.Err())
	// Output:
	// /sensors
	//   ct "40"
	//   title "Sensor \"Index\""
	// /t
	//   obs ""
	// linkformat: the target has no > at its end at offset 51
}

func ExampleAppend() {
	temp := linkformat.Link{Target: "/sensors/temp"}
	temp.Set("rt", "temperature-c", "core.s")
	temp.Set("ct", "0", "40")
	temp.Set("obs")
	temp.Set("title", `The "cold" room`)
	text, err := linkformat.Append(nil, []linkformat.Link{temp, {Target: "/time"}})
	fmt.Println(string(text), err)

	temp.Set("sz", "unknown")
	_, err = linkformat.AppendLink(nil, &temp)
	fmt.Println(err)
	// Output:
	// </sensors/temp>;rt="temperature-c core.s";ct="0 40";obs;title="The \"cold\" room",</time> <nil>
	// linkformat: link "/sensors/temp", parameter "sz": not a value of this attribute
}

func ExampleSelect() {
	text := []byte(`</sensors/temp>;rt="temperature-c";if="sensor",</sensors/light>;rt="light-lux";if="sensor"`)
	// The values of the Uri-Query options of a request to /.well-known/core.
	var filters []linkformat.Filter
	for _, arg := range []string{"if=sensor", "rt=light*"} {
		f, err := linkformat.ParseFilter([]byte(arg))
		if err != nil {
			fmt.Println(err)
		}
		filters = append(filters, f)
	}
	found, err := linkformat.Select(nil, text, filters...)
	fmt.Println(string(found), err)
	// Output:
	// </sensors/light>;rt="light-lux";if="sensor" <nil>
}

func ExampleParseQuery() {
	filters, err := linkformat.ParseQuery("href=%2Fsensors%2A")
	if err != nil {
		fmt.Println(err)
	}
	c := linkformat.NewCursor([]byte(`</sensors/temp>,</time>`))
	for c.Next() {
		fmt.Printf("%s %v\n", c.Link().Target(), filters[0].Match(c.Link()))
	}
	// Output:
	// /sensors/temp true
	// /time false
}

func ExampleLink_Resolve() {
	links, _ := linkformat.Parse([]byte(`</t>;anchor="/sensors/temp";rel="alternate",</sensors/temp>`))
	base, _ := url.Parse("coap://[2001:db8::1]/.well-known/core")
	for _, l := range links {
		target, context, err := l.Resolve(base)
		fmt.Println(context, l.Relations(), target, err)
	}
	// Output:
	// coap://[2001:db8::1]/sensors/temp [alternate] coap://[2001:db8::1]/t <nil>
	// coap://[2001:db8::1] [hosts] coap://[2001:db8::1]/sensors/temp <nil>
}

func ExampleAppendExtValue() {
	l := linkformat.Link{Target: "/größe"}
	l.Set("title*", string(linkformat.AppendExtValue(nil, "Größe", "de")))
	text, err := linkformat.AppendLink(nil, &l)
	fmt.Println(string(text), err)
	fmt.Println(l.Title())
	// Output:
	// </größe>;title*=UTF-8'de'Gr%C3%B6%C3%9Fe <nil>
	// Größe
}
