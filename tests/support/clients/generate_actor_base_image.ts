// React component example
async function generateActorBaseImage(actorName: string, description: string) {
  try {
    const response = await fetch('/api/generate-base-image', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({
        actorName,
        description,
        width: 1024,
        height: 1536,
        steps: 25
      })
    });
    
    const result = await response.json();
    
    if (result.status === 'COMPLETED') {
      console.log('Base image saved to:', result.localPath);
      console.log('Seed used:', result.seed);
      return result;
    } else {
      console.error('Generation failed:', result.error);
      throw new Error(result.error);
    }
  } catch (error) {
    console.error('API error:', error);
    throw error;
  }
}
