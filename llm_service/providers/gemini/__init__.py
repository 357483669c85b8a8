"""Google's generateContent API, behind the Gemini API's door or Vertex AI's."""
