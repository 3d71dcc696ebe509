// Reads iCalendar texts, a JSON object of them by name, and answers with the entries that ical.js finds in each.

import { readFileSync } from "node:fs";

import ICAL from "ical.js";

// ical.js knows no time zones but those that the text itself brings along.
function instant(time) {
  return new Date(time.toUnixTime() * 1000).toISOString();
}

function entry(component) {
  const event = new ICAL.Event(component);
  return {
    uid: event.uid,
    sequence: event.sequence,
    status: component.getFirstPropertyValue("status"),
    summary: event.summary,
    location: event.location,
    description: event.description,
    organizer: event.organizer,
    attendees: event.attendees.map((attendee) => attendee.getFirstValue()),
    properties: component.getAllProperties().map((property) => property.name).sort(),
    starts_at: instant(event.startDate),
    ends_at: instant(event.endDate),
  };
}

function entries(text) {
  return new ICAL.Component(ICAL.parse(text)).getAllSubcomponents("vevent").map(entry);
}

const texts = JSON.parse(readFileSync(0, "utf8"));
const found = Object.entries(texts).map(([name, text]) => [name, entries(text)]);
process.stdout.write(JSON.stringify(Object.fromEntries(found)));
