"""Says whether the faces of a video are real: python predict_video.py clip.mp4"""
import argparse
import deepsight
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("video_path")
parser.add_argument("--model-path", help="model file; the bundled one by default")
parser.add_argument("--frames", type=int, help="frames to look at; by default the length of the video decides")
a = parser.parse_args()
report = deepsight.analyze(a.video_path, frames=a.frames or "auto", model=a.model_path)
print(f"Prediction: {report.verdict}", f"Confidence: {report.confidence or 0:.2%}", sep="\n")
