// The call printed in the Base Image Generation API, as it stands there. run_in_node.py gives fetch a host.
const response = await fetch('/api/generate-base-image', {
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify({
    actorName: '0100_european_25_male',
    description: 'european 25 year old male with short brown hair and blue eyes',
    width: 1024,
    height: 1536,
    steps: 25,
    seed: -1
  })
});

const result = await response.json();
